"""`benchmarks.console`: both databases are filled, read from and caught up. No figure is held to a bound here."""

import pytest

from benchmarks.many_verdicts import SHARES, ManyVerdicts
from benchmarks.postgres import missing_postgres
from moderation_service.console.store.record_sorting import arrivals
from moderation_service.policies.pack import load_pack
from moderation_service.settings import KafkaSettings, shipped_policies
from tests.benchmarks.running import benchmark, figures_of
from tests.conftest import skip_or_fail


async def test_too_few_to_tell_a_rate_are_refused() -> None:
    code, _, err = await benchmark("console", "--catch-up", "500")
    assert (code, err) == (2, "benchmarks.console: --catch-up 500: should be more than 500, which are read at once\n")


@pytest.mark.timeout(240)
async def test_both_databases_are_filled_read_from_and_caught_up(kafka: str) -> None:
    if reason := missing_postgres():
        skip_or_fail(reason)
    sizes = ("--verdicts", "1000", "--catch-up", "1500", "--pages", "3")
    printed = await figures_of("console", *sizes, "--bootstrap-servers", kafka)
    assert printed["ratio"].keys() == {"sqlite", "postgresql"}
    assert printed["sqlite"]["open_jobs"] == printed["postgresql"]["open_jobs"] > 50
    for name in ("sqlite", "postgresql"):
        assert all(rate > 0 for rate in printed[name]["verdicts_per_second"].values())
        assert printed[name]["queue_page_ms"].keys() == {"a_tenth", "all", "while_catching_up"}


def test_the_verdicts_are_right_and_the_same_for_the_same_seed() -> None:
    kafka, pack = KafkaSettings(), load_pack(shipped_policies(), images=False)
    once, again = (list(ManyVerdicts(pack, 2000, 7).some(2000, kafka)) for _ in range(2))
    assert [record.key for record in once] == [record.key for record in again]
    found = arrivals(once, kafka)
    assert not found.refused
    assert len({row["verdict_id"] for row in found.verdicts}) == 2000
    for decision, share in SHARES.items():
        assert sum(row["decision"] == decision for row in found.verdicts) / 2000 == pytest.approx(share, abs=0.03)
    assert len(found.posts) == sum(row["decision"] != "allow" for row in found.verdicts)
