"""A small folder of pictures, a tiny checkpoint, and builds of an index from both."""

import numpy as np
import pytest

from index_builder.build import build_index
from index_builder.index_folder.versions import IndexFolder
from index_builder.vector_index import queries, reranked
from index_builder.vector_index.hnsw import HnswIndex
from index_builder.vector_index.ivf import IvfIndex
from model.hrem import HREM
from tests.unit.index_builder.stopping import PART_SIZE, StoppedError
from tests.worlds import made_up_picture, tiny_checkpoint


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    return tiny_checkpoint(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def photos(tmp_path):
    """Twelve files in three parts; 11 shows what 0 shows, 6 what 5 shows, and 3 is no picture."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(12):
        place = folder / f"{number:02d}.png"
        made_up_picture({11: 0, 6: 5}.get(number, number)).save(place)
    (folder / "03.png").write_text("text")
    return folder


@pytest.fixture
def build(checkpoint, photos, tmp_path):
    def run(output="index", **changes):
        given = {
            "checkpoint": checkpoint,
            "images": photos,
            "output": tmp_path / output,
            "part_size": PART_SIZE,
        }
        return build_index(**(given | changes))

    return run


@pytest.fixture
def index(tmp_path):
    return IndexFolder(tmp_path / "index")


@pytest.fixture
def encoded(monkeypatch):
    """Counts the pictures that go through the network; `stop_at` ends the build at a batch."""

    class Encoded:
        count = 0
        batch_count = 0
        stop_at = None

    real = HREM.encode_pixels

    def counting(self, pixels, **settings):
        Encoded.batch_count += 1
        if Encoded.batch_count == Encoded.stop_at:
            raise StoppedError
        Encoded.count += len(pixels)
        return real(self, pixels, **settings)

    monkeypatch.setattr(HREM, "encode_pixels", counting)
    return Encoded


@pytest.fixture
def exactly_only_tiny(monkeypatch):
    """Send all but the smallest masks through FAISS: galleries of tests are small."""
    monkeypatch.setattr(reranked, "_EXACT_COUNT", 50)
    for kind in (HnswIndex, IvfIndex):
        monkeypatch.setattr(kind, "_break_even_count", lambda _, __: 0)


@pytest.fixture
def few_tuning_queries(monkeypatch):
    """Tune and measure with 100 queries instead of 500, where a test is about something else."""
    monkeypatch.setattr(queries, "_TUNING_QUERIES", queries.FEWEST_QUERIES)


@pytest.fixture
def passes_over_rows(monkeypatch):
    """Names what is made of a mask of allowed rows, each time: every one goes over all rows."""
    names = []

    def counted(name, real):
        def passing(*given, **named):
            names.append(name)
            return real(*given, **named)

        return passing

    for name in ("packbits", "bincount", "flatnonzero"):
        monkeypatch.setattr(np, name, counted(name, getattr(np, name)))
    return names
