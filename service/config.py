"""Settings of the service: flags, environment, file and help all come from these fields."""

import ipaddress
import re
from pathlib import Path
from typing import ClassVar

from pydantic import Field, field_validator

from model.command_line import Command, Names

__all__ = ["ServiceConfig"]


class ServiceConfig(Command):
    """Serve an index: REST API and search page, until SIGTERM or Ctrl-C."""

    examples: ClassVar[tuple[str, ...]] = (
        "python -m service --index indexes/scenes",
        "python -m service --index indexes/photos --host 0.0.0.0 --port 8080 --keys keys.toml",
    )

    index: Path = Field(description="index folder, made by: python -m index_builder build")
    checkpoint: Path | None = Field(
        default=None,
        description="where the checkpoint lies, if not in the index; its fingerprint must match",
    )
    images_root: Path | None = Field(
        default=None, description="where the pictures lie now, if they were moved after the build"
    )
    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=8000, ge=0, le=65535, description="port; 0 takes a free one")

    keys: Path | None = Field(
        default=None,
        description="TOML file of the keys that open the service; default: open to everyone",
    )
    allowed_hosts: Names = Field(
        default=(),
        description="host names to answer for, beside loopback ones: a.org, *.a.org, or * for any; "
        "default: none more on a loopback address, any on another",
    )
    cors_origins: Names = Field(
        default=(),
        description="origins whose pages may ask, such as https://a.org; default: none",
    )
    trusted_proxies: Names = Field(
        default=("127.0.0.1", "::1"),
        description="addresses or networks of proxies: their X-Forwarded-For and -Proto count",
    )
    url_hosts: Names = Field(
        default=(),
        description="hosts that pictures may be fetched from by URL: a.org, *.a.org, "
        "http://a.org:8080, or * for any public one; default: none",
    )
    url_timeout_ms: int = Field(
        default=10_000, ge=1, description="a URL not read by then is given up"
    )

    device: str = Field(
        default="auto", description="of the network: cpu, cuda, or auto: cuda where there is one"
    )
    index_device: str | None = Field(
        default=None,
        description="where vectors are compared: cpu, cuda or auto; default: as device",
    )

    log_requests: bool = Field(
        default=True, description="one JSON line a request on stderr, without queries"
    )

    max_body_bytes: int = Field(
        default=10_000_000, ge=1_000, description="largest request body; more is refused"
    )
    max_pixels: int = Field(
        default=25_000_000, ge=1, description="largest picture, seen before decoding"
    )
    max_waiting_items: int = Field(
        default=256,
        ge=32,
        description="most queries and pictures in work or waiting; more is refused",
    )
    max_batch_items: int = Field(
        default=32, ge=1, le=1024, description="queries that are encoded or searched at once"
    )
    max_batch_wait_ms: float = Field(
        default=4.0,
        ge=0,
        le=1000,
        description="longest wait for more queries after a batch; none while nothing runs",
    )
    decode_threads: int = Field(default=2, ge=1, le=64, description="threads that decode pictures")
    query_timeout_ms: int = Field(
        default=10_000, ge=1, description="a query not answered by then is given up"
    )
    upload_timeout_ms: int = Field(
        default=60_000, ge=1, description="a request body not received by then is given up"
    )
    max_connections: int = Field(
        default=1_000,
        ge=16,
        description="open at once; the slowest client makes way for a new one",
    )
    max_header_bytes: int = Field(
        default=32_768, ge=4_096, description="largest head of a request; more is refused"
    )
    header_timeout_ms: int = Field(
        default=10_000, ge=1, description="a request's head not received by then is given up"
    )
    idle_timeout_s: int = Field(
        default=15, ge=1, description="a connection without a further request is closed"
    )
    send_timeout_ms: int = Field(
        default=30_000, ge=1, description="a client that does not fetch its answer is let go"
    )
    shutdown_timeout_s: int = Field(
        default=10, ge=0, description="how long running requests may finish when stopping"
    )

    # Imported late: --help must not wait for what only a set list needs.

    @field_validator("allowed_hosts")
    @classmethod
    def _are_hosts(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        from service.access.hosts import checked_host_pattern

        return tuple(checked_host_pattern(pattern) for pattern in patterns)

    @field_validator("trusted_proxies")
    @classmethod
    def _are_addresses(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        for proxy in proxies:
            try:
                ipaddress.ip_network(proxy, strict=False)
            except ValueError as error:
                raise ValueError(
                    f"{proxy!r} is no address or network; give it as 10.0.0.2 or 10.0.0.0/8"
                ) from error
        return proxies

    @field_validator("url_hosts")
    @classmethod
    def _are_url_hosts(cls, entries: tuple[str, ...]) -> tuple[str, ...]:
        from service.intake.url_rules import checked_url_host

        return tuple(checked_url_host(entry) for entry in entries)

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if not re.fullmatch(r"\*|https?://[a-z0-9._-]+(:\d{1,5})?", origin):
                raise ValueError(
                    f"{origin!r} is no origin; give it as browsers send it, such as "
                    "https://search.example.org, or * for any"
                )
        return origins

    def run(self) -> int:
        """Serve; return 0 after a good end."""
        # The server needs this class, and --help must not wait for it.
        from service.server import serve

        return serve(self)
