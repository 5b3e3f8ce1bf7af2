"""Small real indexes of pictures and captions, with a checkpoint that can encode them again."""

import shutil

import pytest

from index_builder.build import build_index
from index_builder.vector_index import IndexRequest
from tests.worlds import made_up_picture, tiny_checkpoint, write_world


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """Twelve pictures and one that is none, sixty captions, a checkpoint."""
    folder = tmp_path_factory.mktemp("verified")
    write_world(folder)
    (folder / "images" / "zz-broken.png").write_text("no picture")
    tiny_checkpoint(folder)
    return folder


@pytest.fixture(scope="session")
def built(world, tmp_path_factory):
    """Return an index of a kind; the same at every call, not to be changed."""
    found = {}

    def build(kind):
        if kind not in found:
            found[kind] = tmp_path_factory.mktemp(kind) / "index"
            build_index(
                checkpoint=world / "checkpoint",
                images=world / "images",
                captions=world / "captions.jsonl",
                output=found[kind],
                index_request=IndexRequest(kind=kind),
            )
        return found[kind]

    return build


@pytest.fixture
def copy(built, tmp_path):
    """Return a copy of an index of a kind, to be changed."""
    return lambda kind="exact": shutil.copytree(built(kind), tmp_path / f"copy-{kind}")


@pytest.fixture(scope="session")
def two_versions(world, tmp_path_factory):
    """An index of two versions whose images differ; what changes it changes it back."""
    folder = tmp_path_factory.mktemp("two")
    shutil.copytree(world / "images", folder / "images")
    shutil.copytree(world / "checkpoint", folder / "checkpoint")
    for number in (20, 21):
        build_index(
            checkpoint=folder / "checkpoint",
            images=folder / "images",
            captions=world / "captions.jsonl",
            output=folder / "index",
        )
        made_up_picture(number).save(folder / "images" / f"{number}.png")
    return folder / "index"
