"""R@1/5/10 of a live service, measured through its API alone.

Nothing of the network is loaded here: queries go out as JSON and uploads, ids and scores come
back. Ranks follow the protocol of `model.metrics`: ties, by the scores returned, count against us.
A rank beyond the hits asked for is only known to be that large, which no recall at 10 depends on.
A service that has too much to do, or a key over its rate, is asked again when it says.
"""

import http.client
import io
import itertools
import json
import random
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from model import console
from model.data.captioned_images import CaptionedImages
from model.errors import HremError
from model.metrics import RetrievalReport, report_from_ranks
from model.retries import REFUSED_FOR_NOW, Retries, read_retry_after_s

__all__ = ["Endpoint", "EndpointError", "evaluate_endpoint", "rank_of"]

_HIT_COUNT = 100
_QUERIES = 32
_UPLOADS = 16
_UPLOAD_BYTES = 8_000_000
_TIMEOUT_S = 120.0


class EndpointError(HremError):
    """The service cannot be reached, or it refuses a request."""


@dataclass(frozen=True)
class Endpoint:
    """A service at `url`, such as http://127.0.0.1:8000; `key` where it asks for one.

    `retries` says how patiently a request is asked again that was refused for now.
    """

    url: str
    key: str | None = None
    retries: Retries = Retries(deadline_s=120.0, longest_pause_s=10.0)  # noqa: RUF009 - frozen

    def search_texts(self, texts: Sequence[str]) -> list[list[dict[str, Any]]]:
        """Return the image hits of each text, at most 32 texts."""
        body = json.dumps({"query": list(texts), "limit": _HIT_COUNT, "target": "images"})
        return self._hits("/search/text", body.encode(), "application/json", len(texts))

    def search_pictures(self, paths: Sequence[Path]) -> list[list[dict[str, Any]]]:
        """Return the caption hits of each picture file, uploaded as it is."""
        boundary = uuid.uuid4().hex
        parts = [_part(boundary, "file", path.read_bytes(), path.name) for path in paths]
        params = json.dumps({"limit": _HIT_COUNT, "target": "captions"}).encode()
        parts.append(_part(boundary, "params", params, None))
        body = b"".join(parts) + f"--{boundary}--\r\n".encode()
        kind = f"multipart/form-data; boundary={boundary}"
        return self._hits("/search/image", body, kind, len(paths))

    def search_regions(self, regions: npt.NDArray[np.float32]) -> list[dict[str, Any]]:
        """Return the caption hits of one image by its (region, region_dim) features."""
        body = io.BytesIO()
        np.save(body, regions)
        params = json.dumps({"limit": _HIT_COUNT, "target": "captions"})
        route = "/search/image?" + urllib.parse.urlencode({"params": params})
        return self._hits(route, body.getvalue(), "application/x-npy", 1)[0]

    def _hits(
        self, route: str, body: bytes, content_type: str, query_count: int
    ) -> list[list[dict[str, Any]]]:
        headers = {"Content-Type": content_type}
        if self.key is not None:
            headers["Authorization"] = f"Bearer {self.key}"
        address = self.url.rstrip("/") + route
        if not address.startswith(("http://", "https://")):
            raise EndpointError(f"'{self.url}' is no address; give http://HOST:PORT")
        request = urllib.request.Request(address, data=body, headers=headers)
        try:
            results = self._patiently(request)["results"]
            by_query = {result["query_index"]: result["hits"] for result in results}
            return [by_query[place] for place in range(query_count)]
        except urllib.error.HTTPError as error:
            said = error.read(500).decode(errors="replace")
            raise EndpointError(f"{address} answered {error.code}: {said}") from error
        except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError) as error:
            raise EndpointError(
                f"{address} cannot be asked ({error}); start one with: "
                "python -m service --index INDEX"
            ) from error

    def _patiently(self, request: urllib.request.Request) -> Any:
        """Return the JSON of the answer; searches change nothing, so they may be repeated."""
        until = time.monotonic() + self.retries.deadline_s
        for attempt in itertools.count():
            try:
                with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                asked_for = read_retry_after_s(
                    error.headers["Retry-After"], date=error.headers["Date"], now=datetime.now(UTC)
                )
                pause_s = self.retries.pause_s(attempt, asked_for, chance=random.random())
                if error.code not in REFUSED_FOR_NOW or time.monotonic() + pause_s >= until:
                    raise
                error.close()
            time.sleep(pause_s)


def evaluate_endpoint(endpoint: Endpoint, images: CaptionedImages) -> RetrievalReport:
    """Return the recalls of a live service; mean and median rank are lower bounds.

    The service must hold the images and captions of `images` and nothing else.

    Raises:
        EndpointError: It cannot be reached, refuses a request, or answers ids that are not of
            these images.
    """
    return report_from_ranks(
        torch.tensor(_image_to_text_ranks(endpoint, images)),
        torch.tensor(_text_to_image_ranks(endpoint, images)),
    )


def rank_of(hits: Sequence[Mapping[str, Any]], own_id: str, id_field: str) -> int:
    """Return the zero-based rank of the best own hit; ties with others count against us.

    Args:
        hits: In the order of the answer, scores not rising.
        own_id: What `id_field` of an own hit holds.
        id_field: "id" of an image hit, "image_id" of a caption hit.
    """
    own_scores = [hit["score"] for hit in hits if hit[id_field] == own_id]
    if not own_scores:
        return len(hits)
    best = max(own_scores)
    return sum(hit["score"] >= best and hit[id_field] != own_id for hit in hits)


def _text_to_image_ranks(endpoint: Endpoint, images: CaptionedImages) -> list[int]:
    texts = list(dict.fromkeys(images.caption_texts))
    hits_of: dict[str, list[dict[str, Any]]] = {}
    with console.progress("asking with captions", len(texts), "queries") as bar:
        for start in range(0, len(texts), _QUERIES):
            asked = texts[start : start + _QUERIES]
            hits_of.update(zip(asked, endpoint.search_texts(asked), strict=True))
            bar.advance(len(asked))
    _refuse_foreign_ids(hits_of.values(), "id", images)
    return [
        rank_of(hits_of[text], images.image_ids[image], "id")
        for text, image in zip(images.caption_texts, images.caption_image.tolist(), strict=True)
    ]


def _image_to_text_ranks(endpoint: Endpoint, images: CaptionedImages) -> list[int]:
    ranks: list[int] = []
    with console.progress("asking with images", len(images), "queries") as bar:
        for positions, answers in _answers_of_images(endpoint, images):
            _refuse_foreign_ids(answers, "image_id", images)
            ranks += [
                rank_of(hits, images.image_ids[i], "image_id")
                for i, hits in zip(positions, answers, strict=True)
            ]
            bar.advance(len(positions))
    return ranks


def _answers_of_images(
    endpoint: Endpoint, images: CaptionedImages
) -> Iterator[tuple[list[int], list[list[dict[str, Any]]]]]:
    """Yield positions of images and the caption hits of each, asked together."""
    if images.regions is None:
        for positions in _uploads(images.image_paths):
            yield positions, endpoint.search_pictures([images.image_paths[i] for i in positions])
        return
    for position in range(len(images)):
        batch = images.regions.read(np.array([position]))
        yield [position], [endpoint.search_regions(batch.features[0, : batch.counts[0]])]


def _uploads(paths: Sequence[Path]) -> Iterator[list[int]]:
    """Yield positions of pictures that fit into one request."""
    waiting: list[int] = []
    size = 0
    for position, path in enumerate(paths):
        own = path.stat().st_size
        if waiting and (len(waiting) == _UPLOADS or size + own > _UPLOAD_BYTES):
            yield waiting
            waiting, size = [], 0
        waiting.append(position)
        size += own
    if waiting:
        yield waiting


def _refuse_foreign_ids(answers: Any, id_field: str, images: CaptionedImages) -> None:
    """Raise EndpointError if no answer names any of the images: the wrong index is served."""
    known = set(images.image_ids)
    found = {hit[id_field] for hits in answers for hit in hits}
    if not found & known:
        shown = next(iter(found), None)
        raise EndpointError(
            f"the service answers {id_field} {shown!r}, which is none of these images; serve an "
            "index of the same pictures and captions"
        )


def _part(boundary: str, name: str, content: bytes, filename: str | None) -> bytes:
    """Return one part of a multipart body."""
    disposition = f'form-data; name="{name}"'
    if filename is not None:
        safe = filename.replace("\\", "_").replace('"', "_")
        disposition += f'; filename="{safe}"'
    kind = "application/json" if filename is None else "application/octet-stream"
    head = f"--{boundary}\r\nContent-Disposition: {disposition}\r\nContent-Type: {kind}\r\n\r\n"
    return head.encode() + content + b"\r\n"
