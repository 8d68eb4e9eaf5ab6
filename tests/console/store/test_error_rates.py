"""Error rates from the store: those of a hand computation, by slices, changes, and as metrics."""

from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import REGISTRY
from sqlalchemy.ext.asyncio import AsyncEngine

from moderation_service.audits.estimation import Refusal
from moderation_service.audits.ratio_interval import Measure
from moderation_service.console.context import ConsoleContext
from moderation_service.console.store import error_rate_metrics, error_rates
from moderation_service.settings import BareSettings
from tests.console.audited_stream import FLAGGED, LET_GO, keep_stream
from tests.console.support import shipped_pack

NOW = datetime(2026, 5, 1, tzinfo=UTC)
MONTH = timedelta(days=30)
RECALL = 160 / (160 + 120)


async def test_estimates_are_those_of_a_hand_computation(database: AsyncEngine) -> None:
    await keep_stream(database, NOW)
    audits = await error_rates.read(database, NOW - MONTH, NOW)
    assert (audits.verdicts, len(audits.answered), audits.languages) == (FLAGGED + LET_GO, 300, ["en", "zh"])
    of_policy, of_decision = await error_rates.rates(audits, ["weapon_sale", None])
    found = of_policy.estimates
    assert found[Measure.RECALL].value == pytest.approx(RECALL)
    assert found[Measure.PRECISION].value == pytest.approx(0.8)
    assert found[Measure.PREVALENCE].value == pytest.approx(280 / 2200)
    assert (found[Measure.RECALL].labels, found[Measure.RECALL].positives) == (300, 92)
    assert of_decision.estimates == found
    assert (of_policy.agreement.pairs, of_policy.agreement.share) == (60, 0.9)


async def test_a_policy_in_detail_has_slices_changes_and_what_more_audits_would_tell(database: AsyncEngine) -> None:
    await keep_stream(database, NOW)
    await keep_stream(database, NOW, ago_days=40)
    audits, before = [await error_rates.read(database, NOW - n * MONTH, NOW - (n - 1) * MONTH) for n in (1, 2)]
    found = await error_rates.detail(audits, before, "weapon_sale")
    names = [(one.kind, one.name) for one in found.slices]
    assert names == [("language", "en"), ("language", "zh"), ("attribution", "combined"), ("version", "1")]
    assert found.slices[-1].estimates[Measure.RECALL].value == pytest.approx(RECALL)
    assert found.slices[1].estimates[Measure.PRECISION].refusal is Refusal.FEW_LABELS
    assert {measure: one.value for measure, one in found.slices[2].estimates.items()} == {Measure.PRECISION: 0.8}
    recall = next(one for one in found.changes if one.measure is Measure.RECALL)
    assert (recall.difference, recall.is_certain) == (0, False)
    widths = [one.high - one.low for one in found.power]
    assert widths == sorted(widths, reverse=True)
    of_chinese = await error_rates.detail(audits, before, "weapon_sale", "zh")
    assert {one.kind for one in of_chinese.slices} == {"attribution", "version"}


async def test_estimates_stand_in_metrics_and_go_with_their_labels(database: AsyncEngine) -> None:
    context = ConsoleContext(BareSettings(), database, shipped_pack())
    await keep_stream(database, NOW)
    recall = {"policy": "weapon_sale", "measure": "recall"}
    await error_rate_metrics.publish(context, NOW)
    low, value, high = (
        REGISTRY.get_sample_value("moderation_audit_estimate", {**recall, "bound": bound})
        for bound in ("low", "value", "high")
    )
    assert low is not None
    assert high is not None
    assert value == pytest.approx(RECALL)
    assert low < RECALL < high
    assert REGISTRY.get_sample_value("moderation_audit_labels", recall) == 300
    await error_rate_metrics.publish(context, NOW + 2 * MONTH)
    assert REGISTRY.get_sample_value("moderation_audit_estimate", {**recall, "bound": "value"}) is None
    assert REGISTRY.get_sample_value("moderation_audit_labels", recall) == 0
