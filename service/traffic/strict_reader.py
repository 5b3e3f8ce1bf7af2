"""What is read as a request: h11's reading, a little stricter, that remembers why it refused."""

from typing import Any

import h11

__all__ = ["MAX_HEADER_LINES", "StrictReader"]

MAX_HEADER_LINES = 256
# A body in so many pieces, each so small, costs far more than its bytes.
MAX_SMALL_PIECES = 1_000
SMALL_PIECE_BYTES = 64


class StrictReader(h11.Connection):
    """The server's side of a connection.

    Attributes:
        refusal: Why the last bytes were refused; None as long as nothing was.
    """

    def __init__(self, *, max_header_bytes: int) -> None:
        """Read heads of at most `max_header_bytes`, request line included."""
        super().__init__(h11.SERVER, max_incomplete_event_size=max_header_bytes)
        self.refusal: h11.RemoteProtocolError | None = None
        self._piece_count = 0
        self._body_bytes = 0

    def next_event(self) -> Any:
        """Return what h11 reads.

        Raises:
            h11.RemoteProtocolError: h11 refuses it, or we do.
        """
        try:
            event = super().next_event()
            if isinstance(event, h11.Request):
                self._piece_count = self._body_bytes = 0
                _check_head(event)
            elif isinstance(event, h11.Data):
                self._check_piece(event)
        except h11.RemoteProtocolError as error:
            self.refusal = error
            raise
        return event

    def _check_piece(self, event: h11.Data) -> None:
        self._piece_count += 1
        self._body_bytes += len(event.data)
        is_small = self._body_bytes < SMALL_PIECE_BYTES * self._piece_count
        if is_small and self._piece_count > MAX_SMALL_PIECES:
            raise h11.RemoteProtocolError("the body comes in too many small pieces")


def _check_head(request: h11.Request) -> None:
    if request.http_version not in (b"1.0", b"1.1"):
        raise h11.RemoteProtocolError("another version of HTTP")
    names = [name for name, _ in request.headers]
    if len(names) > MAX_HEADER_LINES:
        raise h11.RemoteProtocolError("too many header lines", error_status_hint=431)
    if b"transfer-encoding" in names and b"content-length" in names:
        # Of two lengths a proxy may believe the other one.
        raise h11.RemoteProtocolError("both Content-Length and Transfer-Encoding")
