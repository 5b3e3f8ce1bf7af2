"""What a route works with: what is served, the bounds and the metrics of its app."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from service.intake.remote_pictures import PictureFetcher
from service.intake.uploads import BodyBounds
from service.observing.metrics import Metrics
from service.pairs.readiness import Readiness
from service.pairs.serving import Serving
from service.pairs.workers import Workers
from service.searches.item_reader import ItemReader
from service.searches.retriever import Retriever
from service.traffic.admission import Admission

__all__ = ["Served", "ServedHere"]


@dataclass(frozen=True)
class Served:
    """What one app serves, and within which bounds.

    Attributes:
        serving: The pairs of index and encoder that are open.
        readiness: Whether a query would be answered now.
        admission: How much may be under way.
        workers: Threads for pictures and items.
        retriever: Answers searches.
        items: Answers questions about items.
        metrics: What `/metrics` shows.
        bounds: Of request bodies.
        max_pixels: Of pictures.
        fetcher: Fetches pictures by URL, where that is allowed.
    """

    serving: Serving
    readiness: Readiness
    admission: Admission
    workers: Workers
    retriever: Retriever
    items: ItemReader
    metrics: Metrics
    bounds: BodyBounds
    max_pixels: int
    fetcher: PictureFetcher

    def close(self) -> None:
        """Finish what is running, drop what waits, and let go of the index."""
        self.admission.close()
        self.workers.close()
        self.fetcher.close()
        self.serving.close()


async def _served_here(request: Request) -> Served:
    served: Served = request.app.state.served
    return served


ServedHere = Annotated[Served, Depends(_served_here)]
