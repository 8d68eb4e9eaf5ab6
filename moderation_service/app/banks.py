"""The banks of known content while a process runs: loaded from their files, and compacted beside matching."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import structlog

from moderation_service.banks.matcher import BankMatcher
from moderation_service.readers.bank_files import load_banks
from moderation_service.settings import BankSettings

log = structlog.get_logger(__name__)


@asynccontextmanager
async def open_banks(settings: BankSettings, *, look_every_s: float = 1.0) -> AsyncIterator[BankMatcher]:
    """The banks of `banks.path`, none without it. Raises Misconfigured for a wrong file."""
    banks = await asyncio.to_thread(load_banks, settings.path)  # a million hashes take 20 seconds
    for loaded in banks:
        bank = loaded.bank
        log.info("bank loaded", bank=bank.name, action=bank.action, mode=bank.mode, entries=len(loaded))
    compacting = asyncio.create_task(_compact(banks, look_every_s))
    try:
        yield banks
    finally:
        compacting.cancel()
        with suppress(asyncio.CancelledError):
            await compacting


async def _compact(banks: BankMatcher, look_every_s: float) -> None:
    while True:
        await asyncio.sleep(look_every_s)
        if banks.needs_compaction:
            await asyncio.to_thread(banks.compact)
