"""One bank in memory: its entries by slot, an index for each kind, and its digest."""

from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from math import inf
from operator import itemgetter

import numpy as np

from moderation_service.banks.pdq_index import PdqIndex
from moderation_service.banks.set_digest import SetDigest
from moderation_service.banks.terms import TermIndex, parse_term
from moderation_service.banks.urls import Link, UrlIndex, parse_entry, shortener
from moderation_service.contracts.bank import Bank, BankEntry, BankMatch, EntryKind, Span
from moderation_service.media.pdq import ImageHash, from_hex
from moderation_service.text_folding import FoldedText

_BATCH = 20_000  # entries added at once
_CONSEQUENCES = {"action", "policy", "severity", "route"}


def check_entry(entry: BankEntry) -> BankEntry:
    """The entry. Raises ValueError for a term or a link that nothing can match, or too much."""
    if entry.kind == "urls":
        parse_entry(entry.value)
    elif entry.kind == "terms":
        parse_term(entry.value)
    return entry


class LoadedBank:
    """One thread changes it and its indexes, any may match, and `compact` may run beside both.

    A slot is an entry's place in arrays, some 400 bytes with its index; it is never given anew. A removed entry keeps
    its slot, and the indexes forget it when they are compacted.
    """

    def __init__(self, bank: Bank) -> None:
        self._ids = list[str]()
        self._slots = dict[str, int]()
        self._expires, self._alive = array("d"), bytearray()
        self._sha256 = dict[bytes, tuple[int, ...]]()
        self._pdq, self._terms, self._urls = PdqIndex(), TermIndex(), UrlIndex()
        self._members = SetDigest()
        self.set_properties(bank)

    def __len__(self) -> int:
        """Entries."""
        return len(self._slots)

    def __contains__(self, entry_id: str) -> bool:
        """Whether an entry with this id is there."""
        return entry_id in self._slots

    def set_properties(self, bank: Bank) -> None:
        """Change what follows from a match."""
        self.bank = bank
        self._compute_digest()

    def put(self, entries: Iterable[BankEntry]) -> None:
        """Add entries; one with the id of another takes its place.

        Raises ValueError for an unfit one, and adds none of its batch of 20,000.
        """
        waiting = iter(entries)
        try:
            while batch := {entry.id: entry for entry in islice(waiting, _BATCH)}:
                self._put(list(batch.values()))
        finally:
            self._compute_digest()

    def remove(self, entry_id: str) -> bool:
        """Whether it was there."""
        if was_there := self._forget(entry_id):
            self._compute_digest()
        return was_there

    @property
    def needs_compaction(self) -> bool:
        """Whether enough entries came since the last one to slow matching or adding down."""
        return self._pdq.needs_compaction or self._terms.needs_compaction

    def compact(self) -> None:
        """Rebuild the indexes from the entries that are there, one call at a time. For a thread of its own."""
        kept = np.frombuffer(bytes(self._alive), np.bool_)
        self._pdq.compact(kept)
        self._terms.compact(kept)

    def is_expired(self, now: float) -> bool:
        """Whether the whole bank matches no more, at `now` in seconds since 1970."""
        return self.bank.expires_at is not None and self.bank.expires_at.timestamp() <= now

    def to_match(self, kind: EntryKind, entry_id: str, **where: object) -> BankMatch:
        """A match with an entry, and what follows from it."""
        given = {"bank": self.bank.name, "digest": self.digest, "kind": kind, "entry": entry_id}
        return BankMatch.model_validate({**self.bank.model_dump(include=_CONSEQUENCES), **given, **where})

    def match_image(self, sha256: str, hashes: Sequence[ImageHash], image: int, now: float) -> Iterator[BankMatch]:
        """Entries of the same bytes, then those near to any frame's hash, the nearest first."""
        for entry_id, _ in self._by_id(self._sha256.get(bytes.fromhex(sha256), ()), now):
            yield self.to_match("image_sha256", entry_id, image=image)
        good = [one.hashes for one in hashes if one.quality >= self.bank.pdq_min_quality]
        if good:
            rows, distances = self._pdq.search(np.concatenate(good), self.bank.pdq_threshold)
            pairs = zip(rows.tolist(), distances.tolist(), strict=True)
            nearest = dict(sorted(pairs, key=itemgetter(1), reverse=True))  # farthest first, so the nearest stays
            for entry_id, slot in sorted(self._by_id(nearest, now), key=lambda named: nearest[named[1]]):
                yield self.to_match("image_pdq", entry_id, image=image, distance=nearest[slot])

    def match_text(
        self, readings: Iterable[FoldedText], links: Mapping[Link, list[Span]], now: float
    ) -> Iterator[BankMatch]:
        """Terms, then links."""
        terms, urls = self._terms.search(readings), self._urls.search(links)
        for entry_id, slot in self._by_id(terms, now):
            yield self.to_match("terms", entry_id, spans=tuple(terms[slot]))
        for entry_id, slot in self._by_id(urls, now):
            link, spans = urls[slot]
            yield self.to_match("urls", entry_id, spans=tuple(spans), shortener=shortener(link))

    def _put(self, entries: list[BankEntry]) -> None:
        by_kind = defaultdict[EntryKind, dict[int, str]](dict)
        for slot, entry in enumerate(entries, len(self._ids)):
            by_kind[entry.kind][slot] = entry.value
        links = {slot: parse_entry(value) for slot, value in by_kind["urls"].items()}
        terms = {slot: parse_term(value) for slot, value in by_kind["terms"].items()}
        hashes = by_kind["image_pdq"]
        self._urls.add(links)
        self._terms.add(terms)
        self._pdq.add(from_hex(list(hashes.values())), np.array(list(hashes), np.int64))
        for slot, value in by_kind["image_sha256"].items():
            key = bytes.fromhex(value)
            self._sha256[key] = (*self._sha256.get(key, ()), slot)
        for entry in entries:
            self._forget(entry.id)
            self._slots[entry.id] = len(self._ids)
            self._ids.append(entry.id)
            self._members.add(entry.model_dump_json().encode())
            self._expires.append(entry.expires_at.timestamp() if entry.expires_at else inf)
            self._alive.append(True)

    def _forget(self, entry_id: str) -> bool:
        if (slot := self._slots.pop(entry_id, None)) is not None:
            self._alive[slot] = False
            self._members.remove(slot)
        return slot is not None

    def _compute_digest(self) -> None:
        self.digest = self._members.compute(self.bank.model_dump_json().encode())

    def _by_id(self, slots: Iterable[int], now: float) -> list[tuple[str, int]]:
        """Ids and slots in the ids' order, the same in all workers; without what is removed, expired or half added."""
        alive = (slot for slot in slots if slot < len(self._alive) and self._alive[slot] and now < self._expires[slot])
        return sorted((self._ids[slot], slot) for slot in alive)
