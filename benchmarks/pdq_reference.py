"""Equality with the `threatexchange` package: hashes and distances of pairs of images, by its code and by ours.

The package needs a C++ compiler and is no dependency: install it elsewhere, and name its folder of packages.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.command_line import main
from benchmarks.pdq import COPIES, made
from moderation_service.banks.pdq_index import PdqIndex
from moderation_service.contracts.bank import MAX_PDQ_DISTANCE
from moderation_service.media.pdq import BITS, from_hex, pdq, to_hex


def run(*, libraries: Path, pairs: int = 1000, seed: int = 1) -> dict[str, Any]:
    """Compare, for as many pairs of images, half of them an original and its copy.

    Args:
        libraries: The `site-packages` in which `threatexchange` and `pdqhash` are.
        pairs: Pairs of images.
        seed: Of the images.
    """
    sys.path.append(str(libraries))
    import pdqhash  # noqa: PLC0415 - no dependency
    from threatexchange.signal_type.pdq.signal import PdqSignal  # noqa: PLC0415

    images, changes = list(made(pairs // 2 + 1, seed)), list(COPIES.values())
    compared, hashes_equal, distances, index_equal = 0, 0, list[int](), 0
    for number, image in enumerate(images[:-1]):
        for other in (changes[number % len(changes)](image), images[number + 1]):
            hashes = [pdq(np.asarray(one)).hashes[0] for one in (image, other)]
            values = to_hex(np.stack(hashes))
            theirs = [np.packbits(pdqhash.compute(np.asarray(one))[0]).tobytes().hex() for one in (image, other)]
            compared += 1
            hashes_equal += values == theirs
            distance = PdqSignal.compare_hash(*theirs).distance.distance
            distances.append(abs(int(np.bitwise_count(hashes[0] ^ hashes[1]).sum()) - distance))
            index = PdqIndex()
            index.add(from_hex(values[:1]), np.zeros(1, np.int64))
            found = index.search(from_hex(values[1:]), MAX_PDQ_DISTANCE)[1]
            index_equal += found.tolist() == [distance][: distance <= MAX_PDQ_DISTANCE]
    return {
        "pairs": compared,
        "hashes_equal": hashes_equal,
        "distances_equal": distances.count(0),
        "greatest_difference": max(distances, default=BITS),
        "found_as_they_find": index_equal,
    }


if __name__ == "__main__":
    main(run)
