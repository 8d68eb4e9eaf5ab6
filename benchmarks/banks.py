"""What known content costs: PDQ of an image, a lookup among a million hashes, hot changes, and terms in texts."""

import asyncio
import resource
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.command_line import main
from moderation_service.app.banks import open_banks
from moderation_service.banks.matcher import BankMatcher
from moderation_service.banks.topic import BankWriter
from moderation_service.bench.local_kafka import local_kafka
from moderation_service.contracts.bank import Bank, BankAction, BankEntry
from moderation_service.kafka.topics import create
from moderation_service.media.pdq import BITS, Hashes, ImageHash, pdq, to_hex
from moderation_service.settings import BareSettings, KafkaSettings
from moderation_service.stream.worker import tune_garbage_collector

_SHA256 = "0" * 64
_FORMS = 8
_TERMS = 10_000
_MB = 1024
_QUALITY = 100
_HOT = 30  # changes through the topic
_PATIENCE_S = 600.0
_LOOK_S = 0.001


def run(*, entries: int = 1_000_000, queries: int = 500, seed: int = 1, from_topic: bool = False) -> dict[str, Any]:
    """Fill a bank with random hashes, look images up, and change the bank meanwhile.

    Times are milliseconds: `wall` by the clock, `cpu` of the thread alone, which other processes do not lengthen.

    Args:
        entries: Hashes of the bank.
        queries: Lookups; each is of the eight forms of a hash that is 0 to 31 bits from one in the bank.
        seed: Of the hashes and images.
        from_topic: Instead load the bank from the compacted topic of a broker on this machine, and change it there.
    """
    rng = np.random.default_rng(seed)
    if from_topic:
        with local_kafka() as address:
            return asyncio.run(_from_topic(address, rng.integers(0, 2**64, (entries, 4), dtype=np.uint64)))
    matcher, bank = BankMatcher(), Bank(name="known", action=BankAction.BLOCK)
    hashes = rng.integers(0, 2**64, (entries, 4), dtype=np.uint64)
    before, begun = _peak_mb(), time.perf_counter()
    matcher.put_bank(bank, (BankEntry(kind="image_pdq", value=value) for value in _values(hashes)))
    matcher.compact()
    digest = matcher["known"].digest
    loaded_s, memory = time.perf_counter() - begun, _peak_mb() - before
    near = _near(hashes, queries, rng)
    found = [bool(matcher.match_image([one], _SHA256).enforced) for one in near]
    lookups = [_taken(matcher.match_image, [one], _SHA256) for one in near]
    single = [_taken(matcher.match_image, [one._replace(hashes=one.hashes[-1:])], _SHA256) for one in near]
    return {
        "found_of_near": sum(found) / len(found),
        "load_s": round(loaded_s, 1),
        "memory_mb": round(memory),
        "lookup_one_hash": _figures(single),
        "lookup_eight_forms": _figures(lookups),
        "hot": _hot(matcher, rng),
        "pdq": {f"{side}x{side}": _figures([_taken(pdq, pixels) for _ in range(30)]) for side, pixels in _images(rng)},
        "terms": _terms(rng),
        "digest": digest,
    }


async def _from_topic(address: str, hashes: Hashes) -> dict[str, Any]:
    """Seconds and memory to load the bank from the topic, and until hot changes arrive; the loop's pauses meanwhile."""
    settings = BareSettings(kafka=KafkaSettings(bootstrap_servers=address))
    await create(settings.kafka)
    writer, first = BankWriter(settings), await asyncio.to_thread(to_hex, hashes[:_HOT])
    await writer.put_bank(Bank(name="known", action=BankAction.BLOCK))
    await writer.put_entries("known", (BankEntry(kind="image_pdq", value=value) for value in _values(hashes)))
    before, begun, cpu = _peak_mb(), time.perf_counter(), time.process_time()
    loading, changing, arrivals = list[float](), list[float](), list[float]()
    watching = asyncio.create_task(_pauses(loading))
    async with open_banks(settings, follow_s=_PATIENCE_S) as banks:
        load_s, cpu_s, memory = time.perf_counter() - begun, time.process_time() - cpu, _peak_mb() - before
        watching.cancel()
        tune_garbage_collector()  # as workers do
        watching = asyncio.create_task(_pauses(changing))
        bank = banks["known"]
        loaded = len(bank)
        for value in first:
            entry, digest = BankEntry(kind="image_pdq", value=value, id=f"hot-{value}"), bank.digest
            sent = asyncio.create_task(writer.put_entries("known", [entry]))
            sent_at = time.perf_counter()
            while bank.digest == digest:  # noqa: ASYNC110 - the bank tells nobody when it changes
                await asyncio.sleep(0.001)
            arrivals.append((time.perf_counter() - sent_at) * 1000)
            await sent
        watching.cancel()
    return {
        "entries": loaded,
        "load_s": round(load_s, 1),
        "load_cpu_s": round(cpu_s, 1),
        "memory_mb": round(memory),
        "pauses_while_loading_ms": _percentiles(loading),
        "pauses_while_changing_ms": _percentiles(changing),
        "change_arrives_ms": _percentiles(arrivals),
    }


async def _pauses(found: list[float]) -> None:
    """How much later than asked the event loop goes on, in milliseconds."""
    while True:
        begun = time.perf_counter()
        await asyncio.sleep(_LOOK_S)
        found.append((time.perf_counter() - begun - _LOOK_S) * 1000)


def _values(hashes: Hashes) -> Iterator[str]:
    for cut in range(0, len(hashes), _TERMS):
        yield from to_hex(hashes[cut : cut + _TERMS])


def _near(hashes: Hashes, count: int, rng: np.random.Generator) -> list[ImageHash]:
    """Eight forms each, of which the last is near to an entry."""
    made = []
    for row in rng.integers(len(hashes), size=count):
        bits = np.unpackbits(hashes[row].view(np.uint8))
        bits[rng.choice(BITS, rng.integers(32), replace=False)] ^= 1
        forms = rng.integers(0, 2**64, (_FORMS, 4), dtype=np.uint64)
        forms[-1] = np.packbits(bits).view(np.uint64)
        made.append(ImageHash(forms, _QUALITY))
    return made


def _hot(matcher: BankMatcher, rng: np.random.Generator) -> dict[str, Any]:
    """Entries added and removed one by one while a thread compacts: the longest change, and the longest pause."""
    bank, changes, pauses = matcher["known"], [], []
    values = list(_values(rng.integers(0, 2**64, (2000, 4), dtype=np.uint64)))
    compaction = threading.Thread(target=bank.compact)
    compaction.start()
    while compaction.is_alive() or values:
        begun = time.perf_counter()
        if values:
            entry = BankEntry(kind="image_pdq", value=values.pop())
            changes.append(_taken(bank.put, [entry]))
            if len(values) % 2:
                changes.append(_taken(bank.remove, entry.id))
        time.sleep(0.001)
        pauses.append((time.perf_counter() - begun) * 1000)
    return {"change": _figures(changes), "longest_pause_while_compacting_ms": round(max(pauses), 1)}


def _terms(rng: np.random.Generator) -> dict[str, Any]:
    letters = np.array(list("abcdefghijklmnoprstuvw"))
    words = ["".join(rng.choice(letters, rng.integers(4, 12))) for _ in range(_TERMS)]
    matcher = BankMatcher()
    matcher.put_bank(
        Bank(name="terms", action=BankAction.REVIEW), (BankEntry(kind="terms", value=word) for word in set(words))
    )
    matcher.compact()
    text = " ".join("".join(rng.choice(letters, rng.integers(2, 9))) for _ in range(50))
    return {
        f"text_of_{len(many)}": _figures([_taken(matcher.match_text, many) for _ in range(20)])
        for many in (text, text * 30)
    }


def _images(rng: np.random.Generator) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    for side in (256, 512, 1024):
        yield side, rng.integers(0, 256, (side, side, 3), dtype=np.uint8)


def _taken(call: Callable[..., object], *arguments: object) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.thread_time()
    call(*arguments)
    return (time.perf_counter() - wall) * 1000, (time.thread_time() - cpu) * 1000


def _figures(taken: list[tuple[float, float]]) -> dict[str, dict[str, float]]:
    return {name: _percentiles(values) for name, values in zip(("wall", "cpu"), np.array(taken).T, strict=True)}


def _percentiles(values: Sequence[float] | NDArray[np.float64]) -> dict[str, float]:
    return {f"p{share}": round(float(np.percentile(values, share)), 3) for share in (50, 95, 99, 100)}


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _MB


if __name__ == "__main__":
    main(run)
