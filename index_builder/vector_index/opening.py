"""From a file to who searches it; what is not what the manifest says is refused."""

from pathlib import Path
from typing import Any, NoReturn

import faiss
import numpy as np

from index_builder.galleries.damaged import damaged
from index_builder.galleries.manifest import Manifest
from index_builder.vector_index.base import StoredRows, VectorIndex
from index_builder.vector_index.codes import CodesIndex
from index_builder.vector_index.exact import ExactIndex
from index_builder.vector_index.faiss_files import (
    describe,
    describe_written,
    empty_index,
    read_mapped,
    reason_of,
)
from index_builder.vector_index.gpu import (
    IvfIndexOnGpu,
    ResidentIndex,
    copy_to_gpu,
    has_faiss_gpu,
)
from index_builder.vector_index.hnsw import HnswIndex
from index_builder.vector_index.ivf import IvfIndex
from index_builder.vector_index.reranked import RerankedIndex
from index_builder.vector_index.row_mask import RowMask
from index_builder.vector_index.stored_rows import half_rows
from model.errors import ConfigError

__all__ = ["check_filter", "open_vector_index", "searcher_for"]

_CHECKED_COUNT = 1000


def open_vector_index(folder: Path, manifest: Manifest, *, device: str = "cpu") -> VectorIndex:
    """Return the index of a gallery's folder, its large parts mapped into memory.

    Args:
        folder: Where `index.faiss` and `embeddings.f16` lie.
        manifest: What it must be.
        device: cpu, or a GPU of torch; kinds that are no faster there stay on the CPU.

    Raises:
        GalleryIndexError: A file is missing or damaged, or is not what the manifest says.
    """
    index = read_mapped(folder / "index.faiss")
    _check(folder, manifest, index)
    kind, parameters = manifest.index.kind, manifest.index.search_parameters
    is_on_gpu = not device.startswith("cpu")
    opened: VectorIndex
    if kind == "exact":
        opened = ExactIndex(index)
    else:
        halves = half_rows(folder / "embeddings.f16", manifest.dim)
        opened = searcher_for(index)(index, halves, kind, parameters)
    if sorted(opened.search_parameters) != sorted(parameters):
        _refuse(
            folder,
            f"is searched with {sorted(opened.search_parameters)}",
            str(sorted(parameters)),
        )
    if is_on_gpu and isinstance(opened, ExactIndex):
        return ResidentIndex(opened, device)
    if is_on_gpu and kind == "ivf" and has_faiss_gpu():  # pragma: no cover
        return IvfIndexOnGpu(index, halves, kind, parameters, on_gpu=copy_to_gpu(index))
    return opened


def searcher_for(index: Any) -> type[RerankedIndex]:
    """Return who searches such a FAISS index.

    Raises:
        ConfigError: Nobody here does.
    """
    within = index
    if isinstance(index, faiss.IndexPreTransform):
        within = faiss.downcast_index(index.index)
    if isinstance(within, faiss.IndexIVF):
        return IvfIndex
    if isinstance(index, faiss.IndexHNSW):
        return HnswIndex
    if isinstance(index, faiss.IndexFlatCodes | faiss.IndexFastScan):
        return CodesIndex
    raise ConfigError(
        [f"factory = {describe(index)!r}: only IVF..., HNSW... and plain codes such as SQ8 can be "
         "searched with a filter and re-ranked; leave out what stands around them (but for a "
         "transform before IVF), and RFlat: the gallery re-ranks by itself"]
    )  # fmt: skip


def check_filter(index: Any, name: str, vectors: StoredRows) -> None:
    """Try a filtered search on a few rows in a trained, empty index, and empty it again.

    Some FAISS indexes refuse a filter and some forget it; better now than after a long build.

    Raises:
        ConfigError: A row that is not allowed was found, or FAISS refuses.
    """
    rows = np.array(vectors[:_CHECKED_COUNT], dtype=np.float32)
    index.add(rows)
    allowed = np.arange(len(rows)) % 2 == 0
    searched = searcher_for(index)(index, rows, "factory")
    try:
        found = searched.propose(rows[:10], 10, RowMask(allowed, len(rows)), 1)
    except RuntimeError as error:
        raise ConfigError(
            [f"factory = {name!r}: FAISS cannot filter it: {reason_of(error)}"]
        ) from error
    if not allowed[found[found >= 0]].all():
        raise ConfigError([f"factory = {name!r}: FAISS finds rows that a filter forbids"])
    index.reset()


def _check(folder: Path, manifest: Manifest, index: Any) -> None:
    record = manifest.index
    try:
        expected = describe_written(empty_index(record.factory, manifest.dim))
    except ConfigError as error:
        _refuse(folder, f"holds a faiss {describe(index)}", str(error))
    found = describe_written(index)
    is_flat = isinstance(index, faiss.IndexFlatIP)
    is_kind = {
        "exact": is_flat,
        "hnsw": isinstance(index, faiss.IndexHNSW),
        "ivf": isinstance(index, faiss.IndexIVF),
        "factory": not is_flat,
    }[record.kind]
    for is_right, differs, said in (
        (index.d == manifest.dim, f"is {index.d}-d", f"{manifest.dim}-d"),
        (index.ntotal == manifest.row_count, f"holds {index.ntotal} rows", str(manifest.row_count)),
        (is_kind, f"holds a faiss {type(index).__name__}", record.kind),
        (found == expected, f"holds a faiss {found}", expected),
        (
            index.metric_type == faiss.METRIC_INNER_PRODUCT,
            f"has the faiss metric {index.metric_type}",
            manifest.metric,
        ),
    ):
        if not is_right:
            _refuse(folder, differs, said)


def _refuse(folder: Path, found: str, said: str) -> NoReturn:
    raise damaged(f"galleries/{folder.name}: index.faiss {found} but manifest.json says {said}")
