"""Multi-index hashing of PDQ: every hash within 31 bits of a query, from a small share of a bank.

Method: Norouzi, Punjani and Fleet, "Fast Search in Hamming Space with Multi-Index Hashing", CVPR 2012. Hashes at
distance 31 or less agree in one of their 16 pieces of 16 bits but for one bit at most; so a query looks, in each
piece's table, at its own bucket and at the 16 of one other bit, and computes the distance to what lies there.
"""

from collections.abc import Iterator
from threading import Lock
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from moderation_service.media.pdq import WORDS, Hashes

Rows = NDArray[np.int64]
Distances = NDArray[np.uint16]
_PIECES, _PIECE_BITS = 16, 16
_BUCKETS = 1 << _PIECE_BITS
_NEAR = np.array([0, *(1 << bit for bit in range(_PIECE_BITS))], np.uint16)
_BASES = np.arange(_PIECES)[:, None] * (_BUCKETS + 1)
_LEAST_TAIL = 8192
_TAIL_SHARE = 64
_CANDIDATES = 1 << 16  # compared at once: bounds the memory of a query that is near to very many


class _Tables(NamedTuple):
    """Hashes that have their tables; bucket b of piece p holds places[starts[b of p] : starts[b of p + 1]]."""

    hashes: Hashes
    rows: Rows
    starts: NDArray[np.int64]
    places: NDArray[np.uint32]


class PdqIndex:
    """Hashes by row, a number of the owner's. New ones are compared one by one until `compact` has run."""

    def __init__(self) -> None:
        nothing = np.empty((0, WORDS), np.uint64)
        self._swap = Lock()
        self._state = _tables(nothing, np.empty(0, np.int64)), nothing, np.empty(0, np.int64)

    @property
    def needs_compaction(self) -> bool:
        """Whether enough hashes have no tables to slow the search down."""
        tables, tail, _ = self._state
        return len(tail) > max(_LEAST_TAIL, len(tables.rows) // _TAIL_SHARE)

    def add(self, hashes: Hashes, rows: Rows) -> None:
        """Add hashes."""
        with self._swap:
            tables, tail, tail_rows = self._state
            self._state = tables, np.concatenate([tail, hashes]), np.concatenate([tail_rows, rows])

    def compact(self, kept: NDArray[np.bool_]) -> None:
        """Build tables of the rows that `kept` has true or that came after it. For a thread: numpy lets others run."""
        tables, tail, tail_rows = self._state
        rows = np.concatenate([tables.rows, tail_rows])
        alive = np.append(kept, True)[np.minimum(rows, len(kept))]
        made = _tables(np.concatenate([tables.hashes, tail])[alive], rows[alive])
        with self._swap:
            _, all_tail, all_rows = self._state
            self._state = made, all_tail[len(tail) :], all_rows[len(tail) :]

    def search(self, queries: Hashes, threshold: int) -> tuple[Rows, Distances]:
        """Rows within `threshold` (31 at most) of any query, and their distances; a row may be there several times."""
        tables, tail, tail_rows = self._state
        found = [(np.empty(0, np.int64), np.empty(0, np.uint16))]
        for places, asked in _candidates(tables, queries):
            distances = _distances(tables.hashes.take(places, axis=0), queries.take(asked, axis=0))
            near = distances <= threshold
            found.append((tables.rows[places[near]], distances[near]))
        for query in queries if len(tail) else ():
            distances = _distances(tail, query)
            near = distances <= threshold
            found.append((tail_rows[near], distances[near]))
        return np.concatenate([rows for rows, _ in found]), np.concatenate([distances for _, distances in found])


def _tables(hashes: Hashes, rows: Rows) -> _Tables:
    starts = np.zeros((_PIECES, _BUCKETS + 1), np.int64)
    places = np.empty((_PIECES, len(rows)), np.uint32)
    for piece in range(_PIECES):
        buckets = _piece(hashes, piece)
        places[piece] = np.argsort(buckets, kind="stable")  # a radix sort, for 16 bits
        np.cumsum(np.bincount(buckets, minlength=_BUCKETS), out=starts[piece, 1:])
        starts[piece] += piece * len(rows)
    return _Tables(hashes, rows, starts.ravel(), places.ravel())


def _piece(hashes: Hashes, piece: int) -> NDArray[np.uint16]:
    return (hashes[:, piece // 4] >> np.uint64(piece % 4 * _PIECE_BITS)).astype(np.uint16)


def _candidates(tables: _Tables, queries: Hashes) -> Iterator[tuple[NDArray[np.uint32], Rows]]:
    """Places in the queries' buckets, and the number of the query of each; in batches."""
    pieces = np.stack([_piece(queries, piece) for piece in range(_PIECES)])
    buckets = (_BASES[:, :, None] + (pieces[:, :, None] ^ _NEAR)).reshape(_PIECES, len(queries), -1)
    begins = tables.starts[buckets].ravel()
    sizes = tables.starts[buckets + 1].ravel() - begins
    ends = np.cumsum(sizes)
    asked = np.broadcast_to(np.arange(len(queries))[:, None], buckets.shape).ravel()
    at = np.repeat(begins - (ends - sizes), sizes) + np.arange(ends[-1])
    asked = np.repeat(asked, sizes)
    for cut in range(0, len(at), _CANDIDATES):
        batch = slice(cut, cut + _CANDIDATES)
        yield tables.places.take(at[batch]), asked[batch]


def _distances(hashes: Hashes, others: Hashes) -> Distances:
    bits = np.bitwise_count(hashes ^ others).astype(np.uint16)
    distances: Distances = bits[:, 0] + bits[:, 1] + bits[:, 2] + bits[:, 3]
    return distances
