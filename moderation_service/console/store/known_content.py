"""Known content of verdicts: the banks that they match, and hashes by which entries that are added later find them."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from moderation_service.console.store.tables import bank_matches, image_hashes

_HEX_256 = re.compile(r"[0-9a-f]{64}")


async def put(connection: AsyncConnection, rows: Sequence[dict[str, Any]], seqs: Mapping[str, int]) -> None:
    """Keep the hashes and the banks of verdicts whose rows are new; of one with a route no hashes."""
    if hashes := [one for row in rows if row["route"] is None for one in _hashes(row, seqs[row["verdict_id"]])]:
        await connection.execute(insert(image_hashes), hashes)
    if matches := [one for row in rows for one in _matches(row["rest"], seqs[row["verdict_id"]])]:
        await connection.execute(insert(bank_matches), matches)


def _hashes(row: dict[str, Any], seq: int) -> Iterator[dict[str, Any]]:
    for position, image in enumerate(row["rest"]["content"]["images"]):
        if sha256 := _bytes(image["sha256"]):
            hashes = {"sha256": sha256, "pdq": _bytes(image["pdq"]), "pdq_quality": image["pdq_quality"]}
            yield {"verdict_seq": seq, "position": position, **hashes}


def _bytes(digest: str | None) -> bytes | None:
    """None for what is no hash of 256 bits: the contract bounds neither."""
    return bytes.fromhex(digest) if digest and _HEX_256.fullmatch(digest) else None


def _matches(rest: dict[str, Any], seq: int) -> Iterable[dict[str, Any]]:
    """One a bank."""
    of_banks = dict[str, dict[str, Any]]()
    for matches, is_shadow in ((rest["matches"], False), (rest["shadow_matches"], True)):
        for match in matches:
            row = {"verdict_seq": seq, "bank": match["bank"], "action": match["action"], "is_shadow": is_shadow}
            of_banks.setdefault(match["bank"], row)
    return of_banks.values()
