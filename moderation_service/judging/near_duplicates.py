"""Near duplicates: the recent verdict whose images are PDQ-near to a post's, with equal words.

A link for reviewers and a count. No decision follows from it: a near copy may carry other words, or another face.
"""

from typing import NamedTuple

import numpy as np

from moderation_service.contracts.bank import MAX_PDQ_DISTANCE, MIN_PDQ_QUALITY
from moderation_service.contracts.verdict import Verdict
from moderation_service.media.pdq import WORDS, Hashes, from_hex
from moderation_service.telemetry import metrics

_HALF = WORDS // 2  # of a hash: near hashes have near halves
_MOST_COMPARED = 32  # verdicts with a near half, the oldest, whose images are compared whole


class _Remembered(NamedTuple):
    verdict_id: str
    post_id: str
    hashes: Hashes


class NearDuplicates:
    """Ring buffer of recent verdicts, each a first of its kind: what is linked to one is not remembered itself.

    300 bytes a verdict. Comparing a post with 10,000 takes some 50 microseconds, however alike they are.
    """

    def __init__(self, max_remembered: int) -> None:
        self._remembered: list[_Remembered | None] = [None] * max_remembered
        self._keys = np.zeros(max_remembered, np.int64)  # of the words and the number of images
        self._first = np.zeros((_HALF, max_remembered), np.uint64)  # half of the first image's hash: word by verdict
        self._next = 0

    def find(self, verdict: Verdict) -> str | None:
        """The id of the oldest remembered verdict on a near copy, else None, and this verdict is remembered.

        Of no verdict with a route, on an exact duplicate, or with an image that has no good hash.
        """
        images = verdict.content.images
        good = [image.pdq for image in images if image.pdq and (image.pdq_quality or 0) >= MIN_PDQ_QUALITY]
        if not self._remembered or not images or len(good) < len(images) or verdict.route or verdict.duplicate_of:
            return None
        hashes, key = from_hex(good), hash((verdict.content.text_sha256, len(good)))
        if kept := self._oldest_near(hashes, key):
            if kept.post_id == verdict.post_id:  # judged again, or edited
                return None
            metrics.NEAR_DUPLICATES.inc()
            return kept.verdict_id
        self._remembered[self._next] = _Remembered(verdict.verdict_id, verdict.post_id, hashes)
        self._keys[self._next], self._first[:, self._next] = key, hashes[0, :_HALF]
        self._next = (self._next + 1) % len(self._remembered)
        return None

    def _oldest_near(self, hashes: Hashes, key: int) -> _Remembered | None:
        """The oldest verdict of the same words whose images are all near."""
        words = zip(self._first, hashes[0], strict=False)
        distances = sum(np.bitwise_count(kept ^ word) for kept, word in words)
        places = np.flatnonzero((distances <= MAX_PDQ_DISTANCE) & (self._keys == key))
        begin = np.searchsorted(places, self._next)  # where the oldest stand
        likely = [self._remembered[at] for at in np.concatenate([places[begin:], places[:begin]])[:_MOST_COMPARED]]
        kept = [one for one in likely if one]
        if not kept:
            return None
        distances = np.bitwise_count(np.stack([one.hashes for one in kept]) ^ hashes).sum(axis=2)
        near = np.flatnonzero((distances <= MAX_PDQ_DISTANCE).all(axis=1))
        return kept[near[0]] if len(near) else None
