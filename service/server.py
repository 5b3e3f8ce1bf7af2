"""The running service: an address, an app, and a good end."""

import asyncio
import contextlib
import errno
import logging
import resource
import signal
import socket
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import uvicorn

from model import console
from model.errors import ServiceError
from service.config import ServiceConfig

if TYPE_CHECKING:
    from fastapi import FastAPI

    from service.traffic.connections import ConnectionBounds

__all__ = ["serve"]

log = logging.getLogger("service.start")

OTHER_OPEN_FILES = 256  # of the index, of libraries, of connections that are just closing


def serve(config: ServiceConfig) -> int:
    """Serve until SIGTERM or Ctrl-C, finish what is running, and return the exit status.

    Raises:
        ServiceError: The address cannot be had.
        HremError: The index or the checkpoint cannot be used.
    """
    early = _EarlyReload()
    with _claimed_address(config.host, config.port) as listener:
        # Imported late: a taken port is told before torch is loaded.
        from service.app import create_app, is_open_to_others, startup_facts
        from service.observing.json_log import log_as_json
        from service.traffic.connections import ConnectionBounds, bounded_protocol

        bounds = ConnectionBounds(
            max_connections=config.max_connections,
            max_header_bytes=config.max_header_bytes,
            header_timeout_s=config.header_timeout_ms / 1000,
            idle_timeout_s=config.idle_timeout_s,
            send_timeout_s=config.send_timeout_ms / 1000,
        )
        needed_files = 2 * bounds.max_connections + OTHER_OPEN_FILES
        allowed_files = _allow_open_files(needed_files)
        app = create_app(config)
        if allowed_files < needed_files:
            bounds = replace(bounds, max_connections=_connections_within(allowed_files, bounds))
        log_as_json(with_requests=config.log_requests)
        url = _url(listener)
        facts = startup_facts(app, config, url=url)
        if is_open_to_others(app, url):
            log.warning("access is %s", facts["access"])
        if allowed_files < needed_files:
            log.warning(
                "this process may open %d files, and --max-connections %d may need %d, so only %d "
                "connections are taken at the same time; raise the hard limit (LimitNOFILE= of "
                "systemd, --ulimit of a container) or lower --max-connections",
                allowed_files, config.max_connections, needed_files, bounds.max_connections,
            )  # fmt: skip
        server = _Server(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                http=bounded_protocol(bounds, app.state.early_refusals, app.state.served.metrics),
                ws="none",
                lifespan="on",
                timeout_keep_alive=bounds.idle_timeout_s,
                timeout_graceful_shutdown=config.shutdown_timeout_s,
                forwarded_allow_ips=list(config.trusted_proxies),
            ),
            announce=lambda: _announce(facts, as_json=config.json_output),
            reload=lambda: _reload(app, config),
            early=early,
        )
        # uvicorn raises the signal again when it has stopped; stopping is what was asked for.
        for stop in (signal.SIGTERM, signal.SIGINT):
            signal.signal(stop, _already_stopped)
        server.run(sockets=[listener])
    with contextlib.suppress(OSError):  # a log on a full disk is no bad end
        console.say("stopped")
    return 0


class _EarlyReload:
    """Remembers a SIGHUP that came before there was anything to reload; unhandled it would kill."""

    def __init__(self) -> None:
        self.was_asked = False
        signal.signal(signal.SIGHUP, self._remember)

    def _remember(self, _signal: int, _frame: FrameType | None) -> None:
        self.was_asked = True


class _Server(uvicorn.Server):
    """Says where it is to be found once it is to be found there; SIGHUP reloads.

    Clients that are too slow are let go once a second.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        announce: Callable[[], None],
        reload: Callable[[], Coroutine[Any, Any, None]],
        early: _EarlyReload,
    ) -> None:
        super().__init__(config)
        self._early = early
        self._announce = announce
        self._reload = reload
        self._reloads: set[asyncio.Task[None]] = set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started:
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._begin_reload)
            self._announce()
            if self._early.was_asked:
                self._begin_reload()

    async def on_tick(self, counter: int) -> bool:
        if counter % 10 == 0:  # ten ticks are a second
            now = time.monotonic()
            for connection in list(self.server_state.connections):
                connection.sweep(now)  # type: ignore[union-attr]  # all are bounded ones
        return await super().on_tick(counter)

    def _begin_reload(self) -> None:
        task = asyncio.create_task(self._reload())
        self._reloads.add(task)  # a task that nobody holds may be collected
        task.add_done_callback(self._reloads.discard)


async def _reload(app: "FastAPI", config: ServiceConfig) -> None:
    """Read the keys again and serve the newest version of the configured index; the log tells."""
    # What went wrong is logged where it went wrong; nobody waits for an answer.
    if config.keys is not None:
        is_read = app.state.access.reload(config.keys)
        app.state.served.metrics.count_keys_reload("reloaded" if is_read else "refused")
    with contextlib.suppress(ServiceError):
        await app.state.served.serving.reload()


def _announce(facts: dict[str, str], *, as_json: bool) -> None:
    # It serves whether anybody hears of it or not: the disk of the log may be full.
    with contextlib.suppress(OSError):
        _say_facts(facts, as_json=as_json)


def _say_facts(facts: dict[str, str], *, as_json: bool) -> None:
    if as_json:
        console.result_json(facts)
        return
    for name, value in facts.items():
        console.say(f"  {name:<12}{value}")
    console.say(f"ready  {facts['url']}/  (API: {facts['url']}/docs, stop with Ctrl-C)")


def _allow_open_files(count: int) -> int:
    """Raise this process's limit of open files to `count` or as far as may be, and return it."""
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if most == resource.RLIM_INFINITY else min(count, most)
    if allowed == resource.RLIM_INFINITY or allowed >= wanted:
        return count if allowed == resource.RLIM_INFINITY else allowed
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
    return wanted


def _connections_within(allowed_files: int, bounds: "ConnectionBounds") -> int:
    """Return how many connections there are files for, besides those that are open by now.

    Without a file for it, a connection could be neither refused nor counted.
    """
    free = allowed_files - len(list(Path("/dev/fd").iterdir()))
    reserved = min(OTHER_OPEN_FILES, allowed_files // 4)
    return max(1, min(bounds.max_connections, (free - reserved) // 2))


def _claimed_address(host: str, port: int) -> socket.socket:
    """Return a socket bound to the address; it does not listen yet.

    Raises:
        ServiceError: The address is taken, not ours, or unknown.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, UnicodeError) as error:  # UnicodeError: no host name at all
        reason = error.strerror if isinstance(error, socket.gaierror) else "not a host name"
        raise ServiceError(f"--host {host}: {reason}; try 127.0.0.1") from error
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise ServiceError(
                f"port {port} on {host} is in use; stop what uses it, or choose another --port"
            ) from error
        raise ServiceError(f"cannot listen on {host} port {port}: {error.strerror}") from error
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _already_stopped(_signal: int, _frame: FrameType | None) -> None:
    """Do nothing: the server has already stopped in good order."""
