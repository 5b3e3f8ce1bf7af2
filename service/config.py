"""Settings of the service: flags, environment, file and help all come from these fields."""

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from model.command_line import Command

__all__ = ["ServiceConfig"]


class ServiceConfig(Command):
    """Serve an index: REST API and search page, until SIGTERM or Ctrl-C."""

    examples: ClassVar[tuple[str, ...]] = (
        "python -m service --index indexes/scenes",
        "python -m service --index indexes/photos --host 0.0.0.0 --port 8080",
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
        default=256, ge=32, description="queries and pictures in work or waiting; more is refused"
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

    def run(self) -> int:
        """Serve; return 0 after a good end."""
        # The server needs this class, and --help must not wait for it.
        from service.server import serve

        return serve(self)
