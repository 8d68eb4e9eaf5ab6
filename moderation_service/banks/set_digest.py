"""Merkle tree of two levels: a set's digest, whatever the order, and a change of one member in a millisecond."""

import hashlib
from array import array

_WIDTH = 32  # bytes of SHA-256
_BUCKETS = 4096


class SetDigest:
    """SHA-256 over the sorted leaves of each of 4,096 buckets, and over the digests of the buckets."""

    def __init__(self) -> None:
        self._leaves = bytearray()
        self._buckets = [array("I") for _ in range(_BUCKETS)]
        self._digests = [hashlib.sha256().digest()] * _BUCKETS
        self._changed = set[int]()

    def add(self, member: bytes) -> None:
        """Add a member; its number counts from 0."""
        leaf = hashlib.sha256(member).digest()
        self._bucket(leaf).append(len(self._leaves) // _WIDTH)
        self._leaves += leaf

    def remove(self, number: int) -> None:
        """Remove a member that is there."""
        self._bucket(self._leaf(number)).remove(number)

    def compute(self, owner: bytes) -> str:
        """The digest of the set and of what it belongs to, as `sha256:…`."""
        for bucket in self._changed:
            self._digests[bucket] = hashlib.sha256(b"".join(sorted(map(self._leaf, self._buckets[bucket])))).digest()
        self._changed.clear()
        return f"sha256:{hashlib.sha256(b''.join((*self._digests, owner))).hexdigest()}"

    def _bucket(self, leaf: bytes) -> "array[int]":
        bucket = int.from_bytes(leaf[:2]) % _BUCKETS
        self._changed.add(bucket)
        return self._buckets[bucket]

    def _leaf(self, number: int) -> bytes:
        return bytes(self._leaves[number * _WIDTH : (number + 1) * _WIDTH])
