import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderation_service.contracts.verdict import Model, Thresholds
from moderation_service.errors import Misconfigured
from moderation_service.judging.calibration import Calibration, FittedOn, Platt

FITTED = FittedOn(
    model="m", revision="r1", prompt_digest="p1", data="d", data_digest=f"sha256:{'0' * 64}", posts=1, target="none"
)
OWN = Thresholds(review=0.5, block=0.9)


def stand_in_model(revision: str, prompt_digest: str) -> Model:
    return Model(
        name="m",
        revision=revision,
        dtype="float32",
        quantization=None,
        engine="local",
        layout="post_first",
        prompt_digest=prompt_digest,
        calibration_id=None,
    )


def written(folder: Path, **policies: object) -> Path:
    path = folder / "calibration.json"
    path.write_text(json.dumps({"schema_version": "1", "policies": policies}))
    return path


def test_without_a_file_scores_and_thresholds_stay() -> None:
    calibration = Calibration.load(None)
    assert calibration.calibration_id is None
    assert calibration.apply("weapon_sale", 0.25) == 0.25
    assert calibration.thresholds("weapon_sale", OWN) == OWN


def test_a_policys_entry_maps_its_scores_and_may_bring_thresholds(tmp_path: Path) -> None:
    entry = {"slope": 2.0, "intercept": -1.0, "thresholds": {"review": 0.3, "block": 0.8}}
    calibration = Calibration.load(written(tmp_path, weapon_sale=entry))
    assert calibration.apply("weapon_sale", 0.5) == pytest.approx(1 / (1 + math.e))
    assert calibration.thresholds("weapon_sale", OWN).review == 0.3
    assert calibration.apply("doxxing", 0.5) == 0.5


def test_a_policy_that_never_blocks_is_not_made_to_by_a_calibration(tmp_path: Path) -> None:
    entry = {"slope": 2.0, "intercept": -1.0, "thresholds": {"review": 0.3, "block": 0.8}}
    calibration = Calibration.load(written(tmp_path, weapon_display=entry))
    own = Thresholds(review=0.5, block=None)
    assert calibration.thresholds("weapon_display", own) == Thresholds(review=0.3, block=None)
    assert calibration.thresholds("other", own) == own


def test_the_id_is_the_files_digest(tmp_path: Path) -> None:
    first = Calibration.load(written(tmp_path, a={"slope": 1, "intercept": 0}))
    again = Calibration.load(written(tmp_path, a={"slope": 1, "intercept": 0}))
    other = Calibration.load(written(tmp_path, a={"slope": 1, "intercept": 0.5}))
    assert first.calibration_id == again.calibration_id != other.calibration_id


@given(st.floats(0, 1), st.floats(0, 1))
def test_platt_keeps_the_order_and_stays_a_probability(low: float, high: float) -> None:
    low, high = sorted((low, high))
    platt = Platt(slope=3.0, intercept=-2.0)
    assert 0 <= platt.apply(low) <= platt.apply(high) <= 1


@pytest.mark.parametrize(
    "policies", [{"a": {"slope": -1, "intercept": 0}}, {"a": {"slope": 1}}, {"a": {"slope": 1, "intercept": 0, "x": 1}}]
)
def test_a_wrong_file_is_refused_with_its_field(tmp_path: Path, policies: dict[str, object]) -> None:
    with pytest.raises(Misconfigured, match=r"calibration.json: policies\.a\."):
        Calibration.load(written(tmp_path, **policies))


def test_isotonic_points_are_joined_by_lines_and_flat_beyond(tmp_path: Path) -> None:
    entry = {"method": "isotonic", "scores": [0.2, 0.4, 0.8], "probabilities": [0.1, 0.5, 0.5]}
    calibration = Calibration.load(written(tmp_path, weapon_sale=entry))
    found = [calibration.apply("weapon_sale", score) for score in (0.0, 0.2, 0.3, 0.6, 1.0)]
    assert found == pytest.approx([0.1, 0.1, 0.3, 0.5, 0.5])


@pytest.mark.parametrize(
    ("points", "says"),
    [
        ({"scores": [0.2], "probabilities": [0.2, 0.3]}, "as many"),
        ({"scores": [0.4, 0.2], "probabilities": [0.2, 0.3]}, "scores should rise"),
        ({"scores": [0.2, 0.2], "probabilities": [0.2, 0.3]}, "scores should rise"),
        ({"scores": [0.2, 0.4], "probabilities": [0.3, 0.2]}, "probabilities should not fall"),
        ({"scores": [0.2, 1.4], "probabilities": [0.2, 0.3]}, "less than or equal to 1"),
        ({"scores": [], "probabilities": []}, "at least 1 item"),
        ({"slope": 1.0, "intercept": 0.0}, "Field required"),
    ],
)
def test_wrong_isotonic_points_are_refused(tmp_path: Path, points: dict[str, object], says: str) -> None:
    with pytest.raises(Misconfigured, match=says):
        Calibration.load(written(tmp_path, a={"method": "isotonic", **points}))


def test_an_unknown_method_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"a: .*'beta'"):
        Calibration.load(written(tmp_path, a={"method": "beta", "slope": 1, "intercept": 0}))


def test_a_file_says_when_it_was_fitted_on_another_model_or_prompt(tmp_path: Path) -> None:
    calibration = Calibration("c", {}, FITTED)
    model = stand_in_model(revision="r1", prompt_digest="p1")
    assert calibration.differs_from(model) is None
    assert "model revision r1" in str(calibration.differs_from(model.model_copy(update={"revision": "r2"})))
    assert "quantization None" in str(calibration.differs_from(model.model_copy(update={"quantization": "int8"})))
    assert "prompt p1" in str(calibration.differs_from(model.model_copy(update={"prompt_digest": "p2"})))
    assert Calibration.load(written(tmp_path)).differs_from(model) is None, "older files don't say"


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="No such file"):
        Calibration.load(tmp_path / "none.json")
