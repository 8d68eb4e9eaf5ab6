"""HTTP for the console: uvicorn on the loop that everything else runs on."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from starlette.types import ASGIApp

from moderation_service.console.header_timeout import HeaderTimeout
from moderation_service.errors import Misconfigured

_DRAIN_S = 10  # for the answers under way when the block is left
_KEEP_ALIVE_S = 30
_BACKLOG = 2048


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """They are the process's, which has more to end than this."""
        yield


@asynccontextmanager
async def serving(app: ASGIApp, host: str, port: int) -> AsyncIterator[int]:
    """Serve until the block is left, then finish what is being answered; gives the port (of use where it is 0).

    Raises Misconfigured when the port is taken.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        msg = f"console.port {port} of {host}: {error.strerror}; set MODERATION_CONSOLE__PORT to a free port"
        raise Misconfigured(msg) from error
    # the accepted ones inherit it; else an answer in two pieces waits 40 ms for the client's acknowledgement
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    server = _Server(
        uvicorn.Config(
            app,
            http=HeaderTimeout,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # the application has its own
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=_DRAIN_S,
        )
    )
    task = asyncio.create_task(server.serve([listening]))
    try:
        yield int(listening.getsockname()[1])
    finally:
        server.should_exit = True
        await task
