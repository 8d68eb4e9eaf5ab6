"""Power table: narrower intervals of more audits, never than the stream itself allows."""

import numpy as np

from moderation_service.audits.power import power_table
from moderation_service.audits.ratio_interval import FALSE_NEGATIVE, TRUE_NEGATIVE, TRUE_POSITIVE, Measure, Tally

STATES = [TRUE_POSITIVE] * 40 + [FALSE_NEGATIVE] * 2 + [TRUE_NEGATIVE] * 258


def observed(low: int, review: int) -> Tally:
    stratum = np.array([1] * 40 + [0] * 260)
    return Tally.of(np.array([low, review], float), stratum, np.array(STATES), np.ones(300))


def test_more_audits_a_day_narrow_the_interval() -> None:
    table = power_table(observed(100_000, 4_000), Measure.RECALL, days=30, per_day=(10, 100, 1_000))
    assert [row.per_day for row in table] == [10, 100, 1_000]
    widths = [row.high - row.low for row in table]
    assert widths[0] > 2 * widths[1] > 4 * widths[2]


def test_a_stream_that_is_audited_whole_leaves_nothing_open() -> None:
    (row,) = power_table(observed(2_600, 400), Measure.RECALL, days=30, per_day=(10_000,))
    assert row.high - row.low < 1e-6


def test_too_few_audits_to_find_a_violation_have_no_row() -> None:
    assert power_table(observed(10**9, 10), Measure.RECALL, days=1, per_day=(1,)) == []
