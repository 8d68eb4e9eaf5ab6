"""Audits end to end on a real Kafka; `python -m benchmarks.audits` is the same with 5,000 posts and the model."""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from benchmarks.audits import Case, audited_settings, by_hand, draws, end_to_end, estimated
from moderation_service.console.catalogues import shipped_catalogues
from moderation_service.console.pages import words
from moderation_service.contracts.engine_input import Language
from moderation_service.contracts.enums import AuditRound
from moderation_service.contracts.post import Post
from moderation_service.engine.base import ScoreRequest
from moderation_service.settings import JudgingSettings
from tests.judging.conftest import make_image
from tests.judging.engines import RuleEngine, judge_by

SEED, POSTS, COPIES = 3, 220, 12
RATES = {"allow_low": 0.3, "allow_middle": 0.3, "allow_near": 0.5, "abstain": 0.5, "review": 0.6, "block": 0.6}
POLICIES = ("doxxing", "violence")
SURE = 10.83  # chi-square with one degree of freedom, at 0.1%
LANGUAGES: tuple[Language, ...] = ("en", "zh")


def cases() -> list[Case]:
    """Posts that tell their scores, with truths as likely as these say; the last are copies of the first."""
    rng, made = np.random.default_rng(SEED), list[Case]()
    for number in range(POSTS):
        scores = dict(zip(POLICIES, rng.beta(0.5, 0.8, len(POLICIES)).round(2).tolist(), strict=True))
        text = f"{number} " + " ".join(f"{name}:{score}" for name, score in scores.items())
        if number % 12 == 0:  # `doxxing` is not asked of a picture alone
            made.append(Case(Post(post_id=f"p-{number}", images=(make_image(f"#{number:06x}"),)), frozenset()))
            continue
        violated = frozenset(name for name, score in scores.items() if rng.random() < score)
        made.append(Case(Post(post_id=f"p-{number}", text=text), violated))
    copies = [case._replace(post=case.post.model_copy(update={"post_id": f"c-{at}"})) for at, case in enumerate(made)]
    return made + copies[:COPIES]


def score_told(policy_id: str, request: ScoreRequest) -> float:
    found = re.search(rf"{policy_id}:([0-9.]+)", request.text)
    return float(found[1]) if found else 0.01


@pytest.mark.timeout(240)
async def test_audits_are_drawn_answered_blind_settled_and_exported(kafka: str, tmp_path: Path) -> None:
    settings = audited_settings(kafka, f"sqlite:///{tmp_path / 'console.db'}", SEED, RATES)
    async with judge_by(RuleEngine(score_told), JudgingSettings(explain="never"), settings.audit) as judge:
        found = await end_to_end(settings, judge, cases(), SEED)
    assert len(found.verdicts) == POSTS + COPIES

    by_stratum = draws(found)
    assert by_stratum.keys() >= {"allow_low", "allow_middle", "allow_near", "block", "review"}
    for name, drawn in by_stratum.items():
        assert drawn["rate"] == RATES[name]
        assert drawn["chi_square"] < SURE, (name, drawn)

    sampled = {one.verdict_id: one for one in found.verdicts if one.audit and one.audit.is_sampled}
    reviewers = dict[str, dict[AuditRound, str]]()
    for review in found.reviews:
        if review.audit:
            draw = sampled[review.verdict_id].audit
            assert draw
            assert (review.audit.stratum, review.audit.probability) == (draw.stratum, draw.probability)
            reviewers.setdefault(review.verdict_id, {})[review.audit.round] = review.reviewer
    rounds = Counter(asked for said in reviewers.values() for asked in said)
    assert rounds[AuditRound.FIRST] > rounds[AuditRound.SECOND] > rounds[AuditRound.ADJUDICATION] > 0
    assert all(len(set(said.values())) == len(said) for said in reviewers.values()), "nobody answers twice"
    assert {said[AuditRound.ADJUDICATION] for said in reviewers.values() if AuditRound.ADJUDICATION in said} == {"eve"}
    contents = {row["verdict_id"] for row in found.rows}
    assert contents <= sampled.keys()
    assert sum(int(row["verdicts"]) for row in found.strata) == POSTS + COPIES

    for language in LANGUAGES:
        said_of = shipped_catalogues()[language].gettext
        titles = {title for name in ("DECIDED", "REASONS", "FLAGS") for title in words.TITLES[name].values()}
        for html in found.blind[language]:
            shown = re.sub(r"<div class=\"words\".*?</div>|<[^>]*>", " ", html, flags=re.DOTALL)
            assert not [title for title in titles if said_of(title).lower() in shown.lower()]
            assert not re.search(r"\d\.\d\d|chip|bar|is-(red|amber|green|violet)|evidence", shown)
            assert "/verdicts/" not in html

    for policy_id in POLICIES:
        figures, told = by_hand(found, policy_id), estimated(found, policy_id)
        assert (figures["labels"] < len(contents)) == (policy_id == "doxxing")
        assert 0 < figures["prevalence"] < figures["precision"] <= 1
        assert 0 < figures["recall"] <= 1
        for name in ("prevalence", "precision", "recall"):
            value = told[name]
            assert not isinstance(value, str), (name, told)
            assert value[0] == pytest.approx(figures[name], abs=1e-6)
