import pytest

from moderation_service.audits.proportion import Proportion


def test_the_interval_is_wilsons() -> None:
    assert Proportion(8, 10).interval == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert Proportion(0, 5).interval == pytest.approx((0.0, 0.4345), abs=1e-4)
