import numpy as np
import pytest

from moderation_service.banks.pdq_index import PdqIndex
from moderation_service.contracts.bank import MAX_PDQ_DISTANCE
from moderation_service.media.pdq import Hashes, from_hex, pdq
from tests.banks.images import image
from tests.banks.threatexchange import PAIRS

ROWS = np.arange(3000) * 7


@pytest.fixture
def hashes() -> Hashes:
    return np.random.default_rng(1).integers(0, 2**64, (len(ROWS), 4), dtype=np.uint64)


def near(one: Hashes, bits: int, rng: np.random.Generator) -> Hashes:
    """A copy with so many bits changed."""
    spread = np.unpackbits(one.view(np.uint8))
    spread[rng.choice(256, bits, replace=False)] ^= 1
    return np.packbits(spread).view(np.uint64)[None]


def found(index: PdqIndex, query: Hashes, threshold: int = 31) -> dict[int, int]:
    rows, distances = index.search(query, threshold)
    return dict(zip(rows.tolist(), distances.tolist(), strict=True))


@pytest.mark.parametrize("state", ["as added", "compacted"])
def test_all_within_the_threshold_and_no_others_are_found(hashes: Hashes, state: str) -> None:
    index, rng = PdqIndex(), np.random.default_rng(2)
    index.add(hashes, ROWS)
    if state == "compacted":
        index.compact(np.ones(ROWS[-1] + 1, np.bool_))
    for row in range(0, len(ROWS), 20):
        for bits in (0, 12, 31):
            assert found(index, near(hashes[row], bits, rng)) == {ROWS[row]: bits}
        assert found(index, near(hashes[row], 32, rng)) == {}
        assert found(index, near(hashes[row], 11, rng), threshold=10) == {}


def test_the_nearest_of_several_queries_is_reported_too(hashes: Hashes) -> None:
    index = PdqIndex()
    index.add(hashes, ROWS)
    index.compact(np.ones(ROWS[-1] + 1, np.bool_))
    assert found(index, hashes[[5, 9]]) == {ROWS[5]: 0, ROWS[9]: 0}


def test_what_is_added_after_a_compaction_is_found_and_what_is_not_kept_is_forgotten(hashes: Hashes) -> None:
    index, kept = PdqIndex(), np.ones(ROWS[-1] + 1, np.bool_)
    index.add(hashes[:2000], ROWS[:2000])
    kept[ROWS[3]] = False
    index.compact(kept)
    index.add(hashes[2000:], ROWS[2000:])
    assert found(index, hashes[3:4]) == {}
    assert found(index, hashes[2500:2501]) == {ROWS[2500]: 0}
    index.compact(kept)
    assert found(index, hashes[2500:2501]) == {ROWS[2500]: 0}


def test_a_long_tail_asks_for_a_compaction(hashes: Hashes) -> None:
    index = PdqIndex()
    for _ in range(4):
        index.add(hashes, ROWS)
    assert index.needs_compaction
    index.compact(np.ones(ROWS[-1] + 1, np.bool_))
    assert not index.needs_compaction


@pytest.mark.parametrize(("seed", "width", "height", "first", "other", "distance"), PAIRS)
def test_hashes_distances_and_matches_are_those_of_threatexchange(
    seed: int, width: int, height: int, first: str, other: str, distance: int
) -> None:
    made, (one, two) = pdq(image(seed, width, height)).hashes[0], from_hex([first, other])
    assert np.bitwise_count(made ^ one).sum() <= 2
    assert np.bitwise_count(one ^ two).sum() == distance
    index = PdqIndex()
    index.add(one[None], np.zeros(1, np.int64))
    assert found(index, two[None]) == ({0: distance} if distance <= MAX_PDQ_DISTANCE else {})
