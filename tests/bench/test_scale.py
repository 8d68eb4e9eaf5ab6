"""`moderation bench scale` measures what it says. No figure is held to a bound here."""

import json

import pytest

from tests.line.service import moderation


@pytest.mark.timeout(300)
async def test_scale_works_through_every_backlog_and_serves_every_partition(kafka: str) -> None:
    code, out, err = await moderation(
        "bench", "scale", "--posts", "200", "--partitions", "8", "--bootstrap-servers", kafka
    )
    assert code == 0, err
    printed = json.loads(out)
    assert {"machine", "versions", "command", "seed"} <= printed.keys()
    assert printed["ratio"].keys() == {"memory_by_backlog", "lanes_8_over_1"}
    assert list(printed["lanes"]) == ["1", "2", "4", "8"]
    assert list(printed["backlog"]) == ["2", "20", "200"]
    assert list(printed["partitions"]) == ["2", "8"]
    for figures in (*printed["lanes"].values(), *printed["backlog"].values()):
        assert figures["posts_per_second"] > 0
        assert figures["peak_memory_bytes"] > 2**20
    for figures in printed["partitions"].values():
        assert figures["start_s"] > 0
        assert figures["rebalance_s"] > 0
