"""Benchmarks: ratios measured in one run.

Each is a module with a function `run` that gives its figures, with `ratio` and, where something is drawn, `seed` among
them. Its keyword arguments are the command's options. None is imported before it is asked for.
"""

from importlib.util import find_spec

BENCHES = {
    "engine": "Posts a second of both layouts, and of other ways to ask the same model.",
    "pipeline": "The whole worker with an instant engine, against a bare loop that emits the same bytes.",
    "host": "A JPEG from bytes to patches, against the Hugging Face processor.",
    "cache": "Posts of which four in five are duplicates, against posts of which none is.",
    "scale": "Posts a second and memory by lanes and backlog; start and rebalance of many partitions.",
    "partitions": "Many partitions on one worker over TLS: time to open, stalls of the event loop, CPU.",
    "load": "Latency by rate of running workers, and the rate up to which they keep up.",
    "linger": "Transactions a second and latency at a steady rate of posts, with and without a linger.",
    "console": "The reviewer console under load.",
}
"""What each measures, by name."""


def built() -> dict[str, str]:
    """Those of BENCHES that are there."""
    return {name: about for name, about in BENCHES.items() if find_spec(f"{__name__}.{name}")}
