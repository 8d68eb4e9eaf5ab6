"""The short profile: a few faults on real processes and a real broker. `make chaos` has all of them."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from moderation_service.bench.local_kafka import missing_tools
from tests.chaos.arena import take_place
from tests.chaos.cluster import Cluster, cluster
from tests.chaos.scenarios import SHORT
from tests.conftest import skip_or_fail

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]
SEED = int(os.environ.get("SEED") or random.SystemRandom().randrange(10**6))


@pytest.fixture(scope="module")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if reason := missing_tools():
        skip_or_fail(reason)
    with cluster(tmp_path_factory.mktemp("brokers"), 1) as its:
        yield its


@pytest.mark.parametrize("name", SHORT)
async def test_nothing_is_lost_doubled_or_reordered(name: str, brokers: Cluster, tmp_path: Path) -> None:
    named = SHORT[name]
    outcome = await take_place(name, named.scenario, named.setting, brokers, SEED, tmp_path)
    assert not outcome.breaches, f"SEED={SEED}: {outcome}"
    assert outcome.faults, "some fault happened"
    assert min(outcome.verdicts, outcome.dead) > 0, "of all kinds"
