"""The application: opens the pair of index and checkpoint, puts routes and middleware together."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import faiss
from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from model.console import counted
from model.device import choose_device
from model.errors import ServiceError
from service.access.api_keys import read_key_ring
from service.access.gatekeeper import Access, AccessControl
from service.access.hosts import AllowedHosts, HostCheck, is_loopback
from service.access.safety_headers import SafetyHeaders
from service.config import ServiceConfig
from service.intake.remote_pictures import PictureFetcher
from service.intake.uploads import BodyBounds
from service.intake.url_rules import UrlRules
from service.observing.metrics import Metrics
from service.observing.observability import ObservedRequests
from service.observing.route_names import RouteNames
from service.openapi import openapi_document
from service.pairs.batching import BatchLimits
from service.pairs.pair import PairOpener
from service.pairs.readiness import Readiness
from service.pairs.serving import Serving
from service.pairs.workers import Workers
from service.problems import install_problem_handlers
from service.routes import admin, embed, items, operations, search, session
from service.routes.page import install_pages
from service.routes.served import Served
from service.searches.item_reader import ItemReader
from service.searches.retriever import Retriever
from service.traffic.admission import Admission
from service.traffic.early_refusals import EarlyRefusals
from service.traffic.gone_clients import GoneClients
from service.traffic.load_shedding import LoadShedding

__all__ = ["create_app", "is_open_to_others", "open_served", "startup_facts"]


def create_app(config: ServiceConfig) -> FastAPI:
    """Return the service of `config`, ready to answer; it lets go of the index at shutdown.

    Raises:
        GalleryIndexError: There is no such index, or the checkpoint is not the one that made it.
        CheckpointError: The checkpoint is missing or damaged.
        ServiceError: The memory is not enough, or the root of the pictures is no folder.
        ConfigError: The file of keys is wrong.
    """
    if config.images_root is not None and not config.images_root.is_dir():
        # Not a wrong setting for good, as the exit status 2 says: it may be mounted later.
        raise ServiceError(
            f"--images-root {config.images_root} is no folder; name the one where the pictures "
            "lie, or leave it out to take the one of the build"
        )
    access = Access(read_key_ring(config.keys)) if config.keys is not None else None
    served = open_served(config)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        served.close()

    app = FastAPI(
        docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False, lifespan=lifespan
    )
    app.state.served = served
    app.state.access = access
    app.state.early_refusals = EarlyRefusals(
        served.admission, served.metrics, trusted_proxies=config.trusted_proxies
    )
    app.openapi = openapi_document  # type: ignore[method-assign]
    routers = [each.router for each in (search, embed, items, operations, session, admin)]
    for router in routers:
        app.include_router(router)
    install_pages(app)
    install_problem_handlers(app)
    # The last one added is the outermost.
    app.add_middleware(GoneClients)
    app.add_middleware(AccessControl, access=access)
    # Outside of the keys: what there is no room for takes nothing of its key's rate.
    app.add_middleware(LoadShedding, admission=served.admission)
    if config.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=config.cors_origins,
            allow_methods=("GET", "POST"),
            allow_headers=("Authorization", "Content-Type", "X-Request-ID"),
            expose_headers=("Retry-After", "X-Request-ID"),
        )
    hosts = AllowedHosts(config.allowed_hosts, listening_on=config.host)
    app.add_middleware(HostCheck, allowed=hosts)
    route_names = RouteNames(route for router in routers for route in router.routes)
    app.add_middleware(ObservedRequests, metrics=served.metrics, route_names=route_names)
    app.add_middleware(SafetyHeaders)
    return app


def open_served(config: ServiceConfig) -> Served:
    """Return all that the routes work with, over the configured index and its checkpoint."""
    metrics = Metrics()
    opener = PairOpener(
        encoder_device=choose_device(config.device),
        index_device=choose_device(config.index_device or config.device),
        images_root=config.images_root,
        limits=BatchLimits(config.max_batch_items, config.max_batch_wait_ms),
        observe=metrics.observe_batch,
    )
    serving = Serving(opener, index=config.index, checkpoint=config.checkpoint)
    admission = Admission(
        max_waiting_items=config.max_waiting_items, query_timeout_ms=config.query_timeout_ms
    )
    workers = Workers(decode_threads=config.decode_threads)
    metrics.watch(serving, admission)
    return Served(
        serving=serving,
        readiness=Readiness(serving, admission),
        admission=admission,
        workers=workers,
        retriever=Retriever(serving, admission, workers, max_pixels=config.max_pixels),
        items=ItemReader(serving, admission, workers, max_pixels=config.max_pixels),
        metrics=metrics,
        bounds=BodyBounds(max_bytes=config.max_body_bytes, timeout_ms=config.upload_timeout_ms),
        max_pixels=config.max_pixels,
        fetcher=PictureFetcher(
            UrlRules(config.url_hosts),
            max_bytes=config.max_body_bytes,
            timeout_ms=config.url_timeout_ms,
        ),
    )


def startup_facts(app: FastAPI, config: ServiceConfig, *, url: str) -> dict[str, str]:
    """Return what an operator wants to know at once: what is served, by what, and where."""
    pair = app.state.served.serving.current
    facts = {"index": f"{config.index}, version {pair.served.version}"}
    for kind, gallery in pair.galleries.items():
        facts[kind] = "none" if gallery is None else f"{gallery.count:,} ({gallery.index.kind})"
    facts["checkpoint"] = f"{pair.served.fingerprint[:16]} ({pair.served.encoder})"
    facts["device"] = (
        f"encoder on {choose_device(config.device)}, "
        f"vectors on {choose_device(config.index_device or config.device)}"
    )
    gpus = faiss.get_num_gpus()
    facts["faiss"] = f"{faiss.__version__} {faiss.get_compile_options().strip()}, {gpus} GPUs"
    access: Access | None = app.state.access
    if access is not None:
        facts["access"] = counted(access.key_count, "keys")
    elif is_open_to_others(app, url):
        reached = urlsplit(url).netloc
        facts["access"] = f"open to everyone who reaches {reached}; --keys FILE closes it"
    else:
        facts["access"] = "open to everyone"
    facts["opened in"] = str(pair.opening_seconds)
    facts["process"] = (
        f"{os.getpid()} (kill -HUP {os.getpid()}: serve a new version, read the keys)"
    )
    facts["url"] = url
    return facts


def is_open_to_others(app: FastAPI, url: str) -> bool:
    """Return whether no key is needed at `url`, which others than this machine can reach."""
    return app.state.access is None and not is_loopback(urlsplit(url).hostname or "")
