"""The application: opens the index, puts routes, problems and middleware together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import faiss
from fastapi import FastAPI

from index_builder.versions import IndexFolder
from model.device import choose_device
from model.dual_encoder import load_dual_encoder
from service.config import ServiceConfig
from service.observability import Metrics, ObservedRequests
from service.openapi import openapi_document
from service.problems import install_problem_handlers
from service.retriever import Retriever
from service.routes import items, operations, search
from service.routes.page import install_pages
from service.routes.served import Served
from service.safety_headers import SafetyHeaders
from service.uploads import BodyBounds
from service.workers import Workers

__all__ = ["create_app", "open_retriever", "startup_facts"]


def create_app(config: ServiceConfig) -> FastAPI:
    """Return the service of `config`, ready to answer; it lets go of the index at shutdown.

    Raises:
        GalleryIndexError: There is no such index, or the checkpoint is not the one that made it.
        CheckpointError: The checkpoint is missing or damaged.
    """
    retriever = open_retriever(config)
    metrics = Metrics(retriever)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        retriever.close()

    app = FastAPI(
        docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False, lifespan=lifespan
    )
    app.state.served = Served(
        retriever=retriever,
        metrics=metrics,
        bounds=BodyBounds(max_bytes=config.max_body_bytes, timeout_ms=config.upload_timeout_ms),
    )
    app.openapi = openapi_document  # type: ignore[method-assign]
    for routes in (search, items, operations):
        app.include_router(routes.router)
    install_pages(app)
    install_problem_handlers(app)
    # The last one added is the outermost.
    app.add_middleware(ObservedRequests, metrics=metrics)
    app.add_middleware(SafetyHeaders)
    return app


def open_retriever(config: ServiceConfig) -> Retriever:
    """Return the retriever of an index folder and the checkpoint that made it."""
    device = choose_device(config.device)
    index = IndexFolder(config.index).open(images_root=config.images_root, device=device)
    place = config.checkpoint or index.checkpoint_path
    encoder = load_dual_encoder(place, device=device)
    index.check_encoder(encoder.fingerprint, place)
    workers = Workers(
        max_waiting_items=config.max_waiting_items,
        query_timeout_ms=config.query_timeout_ms,
        decode_threads=config.decode_threads,
    )
    return Retriever(index, encoder, workers, max_pixels=config.max_pixels)


def startup_facts(app: FastAPI, config: ServiceConfig, *, url: str) -> dict[str, str]:
    """Return what an operator wants to know at once: what is served, by what, and where."""
    retriever: Retriever = app.state.served.retriever
    facts = {"index": f"{config.index}, version {retriever.served.version}"}
    for kind, gallery in retriever.galleries.items():
        facts[kind] = "none" if gallery is None else f"{gallery.count:,}"
    facts["checkpoint"] = f"{retriever.served.fingerprint[:16]} ({retriever.served.encoder})"
    facts["device"] = choose_device(config.device)
    gpus = faiss.get_num_gpus()
    facts["faiss"] = f"{faiss.__version__} {faiss.get_compile_options().strip()}, {gpus} GPUs"
    facts["url"] = url
    return facts
