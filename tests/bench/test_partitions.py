"""`moderation bench partitions` measures what it says. No figure is held to a bound here."""

import json
import shutil

import pytest

from moderation_service.bench.broker import missing_tools
from tests.conftest import skip_or_fail
from tests.line.service import moderation


@pytest.mark.timeout(180)
async def test_partitions_opens_every_partition_over_tls() -> None:
    if reason := missing_tools():
        skip_or_fail(reason)
    if shutil.which("openssl") is None:
        skip_or_fail("openssl makes the certificates")
    code, out, err = await moderation("bench", "partitions", "--partitions", "5", "--idle-s", "0.1")
    assert code == 0, err
    printed = json.loads(out)
    assert (printed["partitions"], printed["tls"], printed["rebalances"]) == (5, True, 1)
    assert min(printed[name] for name in ("open_s", "open_cpu_s", "worst_stall_s", "peak_memory_bytes")) > 0
