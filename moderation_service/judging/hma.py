"""Client of an HMA server (Hasher-Matcher-Actioner of ThreatExchange): which of its banks know an image, by its PDQ.

`GET /m/lookup?signal_type=pdq&signal=HEX` answers `{"BANK": [{"bank_content_id": 7, "distance": "4"}]}`.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager

import aiohttp
from pydantic import BaseModel, TypeAdapter, ValidationError

from moderation_service.backoff import Backoff
from moderation_service.banks.loaded_bank import LoadedBank
from moderation_service.banks.matcher import MAX_MATCHES, BankMatcher, BankMatches
from moderation_service.contracts.bank import MIN_PDQ_QUALITY, Bank, BankAction, BankMatch
from moderation_service.contracts.enums import Mode
from moderation_service.errors import Transient
from moderation_service.media.loaded_image import LoadedImage
from moderation_service.media.pdq import to_hex
from moderation_service.settings import BankSettings
from moderation_service.telemetry import metrics

_ATTEMPTS = 2
_BACKOFF = Backoff(first_s=0.2, longest_s=0.2)
_CONCURRENT = 32
_NO_NAME = re.compile(r"[^a-z0-9_-]")


class _Content(BaseModel):
    bank_content_id: int
    distance: int


_Answer = dict[str, list[_Content]]
_ANSWER = TypeAdapter(_Answer)


class HmaClient:
    """Asks for every frame's upright form, so many at a time, with one retry. Then it raises Transient: the post waits.

    A bank of HMA has the properties of the local bank of its name (in lower case), and action `review` without one.
    """

    def __init__(self, settings: BankSettings, session: aiohttp.ClientSession, backoff: Backoff = _BACKOFF) -> None:
        self._url = f"{(settings.hma_url or '').rstrip('/')}/m/lookup"
        self._timeout_s = settings.hma_timeout_s
        self._session = session
        self._backoff = backoff
        self._slots = asyncio.Semaphore(_CONCURRENT)

    async def match_images(self, banks: BankMatcher, images: Sequence[LoadedImage]) -> list[BankMatches]:
        """The matches of each image. Raises Transient."""
        declared = {loaded.bank.name: loaded for loaded in banks}
        try:
            async with asyncio.TaskGroup() as group:
                asked = [group.create_task(self._match(declared, *numbered)) for numbered in enumerate(images)]
        except ExceptionGroup as errors:  # what was asked beside it is of no use any more
            raise errors.exceptions[0] from None
        return [each.result() for each in asked]

    async def _match(self, declared: Mapping[str, LoadedBank], number: int, image: LoadedImage) -> BankMatches:
        found: dict[Mode, dict[tuple[str, str], BankMatch]] = {mode: {} for mode in Mode}
        for frame in image.hashes:
            if frame.quality >= MIN_PDQ_QUALITY:
                answer = await self._look_up(to_hex(frame.hashes[:1])[0])
                for mode, match in _matches(answer, declared, number):
                    found[mode].setdefault((match.bank, match.entry), match)
        return BankMatches(tuple(found[Mode.ENFORCE].values()), tuple(found[Mode.SHADOW].values()))

    async def _look_up(self, signal: str) -> _Answer:
        failures = 0
        while True:
            try:
                async with self._slots, asyncio.timeout(self._timeout_s):
                    answer = await self._ask(signal)
            except (aiohttp.ClientError, TimeoutError, ValidationError) as error:
                failures += 1
                metrics.HMA_LOOKUPS.labels("failed").inc()
                if failures == _ATTEMPTS:
                    why = error.status if isinstance(error, aiohttp.ClientResponseError) else type(error).__name__
                    msg = f"banks.hma_url: the HMA server does not answer as it should ({why})"
                    raise Transient("hma", msg) from None
                await self._backoff.wait(failures)
            else:
                metrics.HMA_LOOKUPS.labels("answered").inc()
                return answer

    async def _ask(self, signal: str) -> _Answer:
        # by the `seed`, banks that HMA has enabled for a share of lookups answer the same each time
        query = {"signal_type": "pdq", "signal": signal, "seed": signal}
        async with self._session.get(self._url, params=query, allow_redirects=False) as response:
            response.raise_for_status()
            return _ANSWER.validate_json(await response.read())


@asynccontextmanager
async def open_hma(settings: BankSettings) -> AsyncIterator[HmaClient | None]:
    """The client of `banks.hma_url`; None without it. Connects to nothing."""
    if settings.hma_url is None:
        yield None
    else:
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
            yield HmaClient(settings, session)


def _matches(answer: _Answer, declared: Mapping[str, LoadedBank], number: int) -> Iterator[tuple[Mode, BankMatch]]:
    for theirs, contents in answer.items():
        name = _NO_NAME.sub("-", theirs.lower()).strip("_-")[:64] or "hma"
        loaded = declared[name] if name in declared else LoadedBank(Bank(name=name, action=BankAction.REVIEW))
        if loaded.is_expired(time.time()):
            continue
        near = [content for content in contents if content.distance <= loaded.bank.pdq_threshold]
        for content in sorted(near, key=lambda one: (one.distance, one.bank_content_id))[:MAX_MATCHES]:
            entry_id, where = f"hma-{content.bank_content_id}", {"image": number, "distance": content.distance}
            yield loaded.bank.mode, loaded.to_match("image_pdq", entry_id, **where)
