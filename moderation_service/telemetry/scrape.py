"""What a scrape of `/metrics` is answered with."""

import asyncio

from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder


async def page(accept: str) -> tuple[bytes, str]:
    """The metrics in the format that the `Accept` header asks for, and its content type."""
    encode, content_type = choose_encoder(accept)
    # on a thread: a gauge may ask the GPU's driver, and the probes must answer whatever that does
    return await asyncio.to_thread(encode, REGISTRY), content_type
