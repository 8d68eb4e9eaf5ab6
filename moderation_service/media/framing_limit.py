"""Bounds on what an HTTP/1.1 answer costs beside its body: framing, interim answers (1xx) and reads of a few bytes."""

import functools
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.streams import StreamReader

FRAMING_BYTES = 64 * 1024
"""Of heads, chunk sizes and interim answers, however short the body is."""
FRAMING_SHARE = 8
"""Beyond them, one byte of framing for so many of the body: chunks of 64 bytes on average."""
READS = 1024
"""From the socket, however few bytes come; beyond them, one for every `BYTES_A_READ` that came."""
BYTES_A_READ = 128
_PIECE = 16 * 1024


class FramingLimitExceeded(aiohttp.ClientError):
    """The host sent far more framing than body; another try would cost as much."""


class BoundedConnector(aiohttp.TCPConnector):
    """A connector whose connections raise FramingLimitExceeded.

    aiohttp has no setting for it (https://docs.aiohttp.org/en/stable/client_reference.html#aiohttp.TCPConnector), so
    the factory of protocols is replaced; `tests/media/test_wire.py` fails where a later aiohttp makes them otherwise.
    """

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - aiohttp's own
        super().__init__(**options)
        self._factory = functools.partial(_BoundedHandler, loop=self._loop)  # type: ignore[assignment] # partial is invariant


class _BoundedHandler(ResponseHandler):
    """Counts what comes for one request."""

    _received = 0  # bytes
    _reads = 0
    _last_payload: StreamReader | None = None  # of the request before

    def set_response_params(self, **params: Any) -> None:  # noqa: ANN401 - aiohttp's own
        """A request begins."""
        self._received = self._reads = 0
        self._last_payload = self._payload
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        """Parse in pieces, so that no single read holds up the loop for long."""
        self._reads += 1
        for start in range(0, max(len(data), 1), _PIECE):  # an empty one goes on with what the parser held back
            piece = data[start : start + _PIECE]
            self._received += len(piece)
            super().data_received(piece)
            if self.transport is None or self.transport.is_closing():
                return
            if self._is_over():
                error = FramingLimitExceeded("framing over the limit")
                self.set_exception(error)
                if self._payload is not None:
                    self._payload.set_exception(error)
                self.transport.abort()
                return

    def _is_over(self) -> bool:
        if self._reading_paused:  # the parser holds back body that came
            return False
        body = 0 if self._payload in (None, self._last_payload) else self._payload.total_bytes
        return (
            self._received - body > FRAMING_BYTES + body // FRAMING_SHARE
            or self._reads > READS + self._received // BYTES_A_READ
        )
