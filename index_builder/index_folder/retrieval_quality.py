"""How well captions find their pictures through an index, and pictures their captions.

- Where captions name pictures of the same version, stored vectors are the queries: R@1/5/10 both
  ways through `Gallery.search`, as a user would search, beside the figures of exact search.
- The same definition as `evaluate`'s (`model.metrics`): ties count against us. Every item of the
  gallery competes, also captions that name no picture and pictures without captions.
- Hubness: which items turn up among the first ten hits of far too many queries, and which never do.
- Bounded: queries are drawn, the same ones every time, where there are more than `MAX_QUERIES` or
  where exact search would cost more than `MAX_PRODUCTS`; vectors are compared block by block.
"""

import hashlib
import heapq
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from index_builder.galleries.gallery import MAX_HIT_COUNT, Gallery
from index_builder.galleries.immutable_file import immutable_address, open_immutable
from index_builder.galleries.relevance import fit_relevance
from index_builder.index_folder.quality_records import (
    DirectionQuality,
    Hub,
    HubReport,
    Recalls,
    RetrievalQuality,
)
from index_builder.vector_index import Rows
from model.console import progress
from model.hubness import hubness
from model.metrics import exact_scores, metrics_from_ranks

__all__ = ["MAX_PRODUCTS", "MAX_QUERIES", "measure_retrieval"]

MAX_QUERIES = 5_000
# Multiplications that exact search may cost, a direction: 1,000,000 x 1024 gets 976 queries.
MAX_PRODUCTS = 10**12
_MIN_QUERIES = 200
_CUTOFF = 10
_HUB_COUNT = 10
_QUERIES_AT_ONCE = 128
_SCORES_AT_ONCE = 1 << 23

Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Queries:
    """Rows of one gallery, and for each its right answers in the other.

    Attributes:
        rows: (query,), ascending.
        own: For each query the rows of its right answers, at least one.
    """

    rows: Places
    own: Sequence[Places]


@dataclass(frozen=True, eq=False)
class _Found:
    """What the queries find through an index.

    Attributes:
        ranks: (query,), zero-based; those from 10 on as 10.
        rows: (query, hit), of the first hits.
        scores: (query, hit), theirs.
        is_own: (query, hit), True where a hit is a right answer.
    """

    ranks: Places
    rows: Places
    scores: npt.NDArray[np.float64]
    is_own: npt.NDArray[np.bool_]


def measure_retrieval(
    images: Gallery, captions: Gallery, *, max_queries: int = MAX_QUERIES
) -> RetrievalQuality | None:
    """Return the quality of two galleries of one version; None where no caption names an image.

    Args:
        images: Open.
        captions: Open, of the same checkpoint.
        max_queries: How many are drawn at most, a direction.
    """
    of_captions = _draw_captions(captions, images, _bounded(max_queries, images))
    if not len(of_captions.rows):
        return None
    of_images = _draw_images(captions, images, _bounded(max_queries, captions))
    image_to_text, caption_hubs = _measure(of_images, images, captions, "image → text")
    text_to_image, image_hubs = _measure(of_captions, captions, images, "text → image")
    return RetrievalQuality(
        image_to_text=image_to_text,
        text_to_image=text_to_image,
        image_hubs=image_hubs,
        caption_hubs=caption_hubs,
    )


def _bounded(max_queries: int, searched: Gallery) -> int:
    affordable = MAX_PRODUCTS // (searched.count * searched.dim)
    return min(max_queries, max(_MIN_QUERIES, affordable))


def _draw_captions(captions: Gallery, images: Gallery, count: int) -> _Queries:
    """Return captions that name an image, and its row."""
    with _items_of_both(captions, images) as connection:
        pairs = connection.execute(
            "SELECT caption.id, caption.row, image.row FROM main.items AS caption "
            "JOIN images.items AS image ON image.id = caption.image_id"
        )
        drawn = _drawn(
            (pair for pair in pairs if _is_live(captions, pair[1]) and _is_live(images, pair[2])),
            count,
        )
    return _Queries(
        np.array([row for _, row, _ in drawn], dtype=np.int64),
        [np.array([own], dtype=np.int64) for _, _, own in drawn],
    )


def _draw_images(captions: Gallery, images: Gallery, count: int) -> _Queries:
    """Return images that captions name, and the rows of those."""
    with _items_of_both(captions, images) as connection:
        named = connection.execute(
            "SELECT image.id, image.row FROM images.items AS image "
            "WHERE EXISTS (SELECT 1 FROM main.items AS caption WHERE caption.image_id = image.id)"
        )
        drawn = _drawn((image for image in named if _is_live(images, image[1])), count)
        own = [_captions_of(image_id, captions, connection) for image_id, _ in drawn]
    kept = [place for place, rows in enumerate(own) if len(rows)]
    rows = np.array([drawn[place][1] for place in kept], dtype=np.int64)
    return _Queries(rows, [own[place] for place in kept])


@contextmanager
def _items_of_both(captions: Gallery, images: Gallery) -> Iterator[sqlite3.Connection]:
    """Yield a connection to `main.items`, the captions, and `images.items`."""
    with closing(open_immutable(captions.folder / "items.sqlite")) as connection:
        address = immutable_address(images.folder / "items.sqlite")
        connection.execute("ATTACH ? AS images", (address,))
        yield connection


def _captions_of(image_id: str, captions: Gallery, connection: sqlite3.Connection) -> Places:
    """Return the rows of the captions that name an image."""
    statement = "SELECT row FROM main.items WHERE image_id = ? ORDER BY row"
    rows = [row for (row,) in connection.execute(statement, (image_id,)) if _is_live(captions, row)]
    return np.array(rows, dtype=np.int64)


def _is_live(gallery: Gallery, row: int) -> bool:
    return gallery.live is None or bool(gallery.live[row])


def _drawn(found: Iterable[tuple], count: int) -> list[tuple]:
    """Return at most `count` of (id, row, ...), by row: those whose ids have the lowest hashes."""

    def hash_of_id(item: tuple) -> bytes:
        return hashlib.sha256(item[0].encode()).digest()

    return sorted(heapq.nsmallest(count, found, key=hash_of_id), key=lambda item: item[1])


def _measure(
    queries: _Queries, asking: Gallery, searched: Gallery, name: str
) -> tuple[DirectionQuality, HubReport]:
    vectors = asking.vectors_of_rows(queries.rows)
    found = _search(vectors, queries.own, searched, name)
    quality = DirectionQuality(
        query_count=len(vectors),
        through_index=_recalls(found.ranks),
        exact=_recalls(_exact_ranks(vectors, queries.own, searched)),
        relevance=fit_relevance(
            found.scores.ravel(), found.is_own.ravel(), query_count=len(vectors)
        ),
    )
    rows = searched.rows()
    spread = hubness(np.searchsorted(rows, found.rows), item_count=len(rows))
    top = spread.top(_HUB_COUNT)
    ids = searched.ids_of_rows(rows[top].tolist())
    report = HubReport(
        k=spread.k,
        query_count=len(vectors),
        skewness=spread.skewness,
        never_found_fraction=spread.never_found_fraction,
        hubs=[
            Hub(id=ids[int(rows[place])], occurrences=int(spread.occurrences[place]))
            for place in top
        ],
    )
    return quality, report


def _search(vectors: Rows, own: Sequence[Places], searched: Gallery, name: str) -> _Found:
    ranks = np.full(len(vectors), _CUTOFF, dtype=np.int64)
    shape = len(vectors), min(_CUTOFF, searched.count)
    found = _Found(ranks, np.empty(shape, np.int64), np.empty(shape), np.empty(shape, np.bool_))
    with progress(f"measuring {name}", len(vectors), "queries") as bar:
        for start in range(0, len(vectors), _QUERIES_AT_ONCE):
            stop = min(start + _QUERIES_AT_ONCE, len(vectors))
            block = range(start, stop)
            # Right answers are no competitors, so that many more hits are looked at: those that
            # tie with the best of them may stand before ten competitors.
            most_own = max(len(own[query]) for query in block)
            limit = min(MAX_HIT_COUNT, _CUTOFF + most_own)
            for query, hits in zip(block, searched.search(vectors[start:stop], limit), strict=True):
                rows = np.array([hit.row for hit in hits], dtype=np.int64)
                scores = np.array([hit.score for hit in hits])
                is_own = np.isin(rows, own[query])
                found.rows[query] = rows[: shape[1]]
                found.scores[query] = scores[: shape[1]]
                found.is_own[query] = is_own[: shape[1]]
                if is_own.any():
                    reaching = scores >= scores[is_own].max()
                    ranks[query] = min(_CUTOFF, int(np.count_nonzero(reaching & ~is_own)))
            bar.advance(len(block))
    return found


def _exact_ranks(vectors: Rows, own: Sequence[Places], searched: Gallery) -> Places:
    """Return zero-based ranks (query,) by comparing with every vector."""
    own_query = np.repeat(np.arange(len(own)), [len(rows) for rows in own])
    own_row = np.concatenate(own)
    queries = torch.from_numpy(vectors)
    best = torch.full((len(vectors),), -torch.inf)
    rows_at_once = max(1, _SCORES_AT_ONCE // len(vectors))
    for start in range(0, len(own_row), _QUERIES_AT_ONCE):
        part = slice(start, start + _QUERIES_AT_ONCE)
        rows, places = np.unique(own_row[part], return_inverse=True)
        asking = torch.from_numpy(own_query[part])
        scores = exact_scores(queries[asking], torch.from_numpy(searched.vectors_of_rows(rows)))
        right = scores[torch.arange(len(asking)), torch.from_numpy(places)]
        best = best.scatter_reduce(0, asking, right, "amax")
    ranks = torch.zeros(len(vectors), dtype=torch.long)
    order = np.argsort(own_row, kind="stable")
    own_query, own_row = own_query[order], own_row[order]
    for start in range(0, searched.row_count, rows_at_once):
        stop = min(start + rows_at_once, searched.row_count)
        block = torch.from_numpy(searched.vectors_of_rows(np.arange(start, stop)))
        reaching = exact_scores(queries, block) >= best[:, None]  # (query, row)
        mine = slice(*np.searchsorted(own_row, [start, stop]))
        reaching[torch.from_numpy(own_query[mine]), torch.from_numpy(own_row[mine] - start)] = False
        if searched.live is not None:
            reaching[:, torch.from_numpy(~searched.live[start:stop])] = False
        ranks += reaching.sum(dim=1)
    return ranks.numpy()


def _recalls(ranks: Places) -> Recalls:
    metrics = metrics_from_ranks(torch.from_numpy(ranks))
    return Recalls(
        recall_at_1=metrics.recall_at_1,
        recall_at_5=metrics.recall_at_5,
        recall_at_10=metrics.recall_at_10,
    )
