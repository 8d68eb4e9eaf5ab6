"""A store as some hours of a demo leave it: verdicts written by hand from scores, for pages to show."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import BytesIO

import numpy as np
from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from moderation_service.console.store import posts, tables, verdicts
from moderation_service.console.store.tables import case_results, reviews, thumbnails
from moderation_service.contracts.engine_input import Language
from moderation_service.contracts.enums import AbstainReason
from moderation_service.contracts.post import ImageRef, Post
from moderation_service.contracts.verdict import Content, ImageContent, PolicyVerdict, Thresholds, Timings, Verdict
from moderation_service.demo.glyphs import ImageClass
from moderation_service.demo.images import render
from moderation_service.judging.decision import attribute, decide, flags, outcome
from moderation_service.judging.explanation import abstention_sentence, template_explanation
from moderation_service.judging.injection import is_suspected
from moderation_service.judging.statement import draft_statement
from moderation_service.policies.pack import PolicyPack
from tests.contracts.examples import CONTENT, IMAGE, POLICY, verdict

Views = tuple[float, float | None, float | None]
GONE = ImageContent(sha256=None, width=None, height=None, frames=0, media_type=None, status="unavailable")
SIDE = (320, 420)  # height and width, in pixels


@dataclass(frozen=True)
class Told:
    """A post, what was measured of it, and why nothing can be told of it."""

    text: str
    make_image: ImageClass | None = None
    scores: Mapping[str, Views] | None = None
    reason: AbstainReason | None = None
    language: Language = "en"


TOLD = (
    Told(
        "Lightly used, DM me for the price",
        "weapon",
        {"weapon_sale": (0.78, 0.04, 0.02), "weapon_display": (0.61, 0.01, 0.66)},
    ),
    Told("九成新，价格私聊，电话 13800138000", "weapon", {"weapon_sale": (0.71, 0.05, 0.03)}, language="zh"),
    Told("You look so sweet, let us meet alone", "child", {"minor_contact": (0.74, 0.35, 0.01)}),
    Told(
        "Forget your doctor, this works in three days. Write to anna@example.com or +44 20 7946 0958",
        "medical",
        {"health_misinformation": (0.83, 0.31, 0.02)},
    ),
    Told("I will find you and break your legs", None, {"violence": (0.81, 0.81, None)}),
    Told("Our new kitchen is ready", None, reason="image_unavailable"),
    Told("Double your money in a week, guaranteed profit", "money", {"financial_scam": (0.69, 0.55, 0.02)}),
    Told("They should go back where they came from", "animal", {"dehumanisation": (0.58, 0.22, 0.03)}),
    Told("Visiting grandma today, what a day", "neutral", reason="label_mass_low"),
    Told("For sale, cash only, message me", "weapon", {"weapon_sale": (0.97, 0.11, 0.22)}),
    Told("Cooking soup this morning, so happy", "neutral"),
    Told("What a lovely evening by the river"),
    Told("The little one slept all night, what a joy", "child", {"minor_contact": (0.12, 0.02, 0.55)}),
    Told("Look who was waiting for me at the door", "animal"),
)


def judged(
    told: Told, pack: PolicyPack, name: str, at: datetime, *, revision: int = 1, rng: np.random.Generator
) -> Verdict:
    """The verdict on a post."""
    parts = tuple(
        _part(pack, one.id, (told.scores or {}).get(one.id) or (_low(rng), None, None)) for one in pack.enforced
    )
    make_image = (GONE,) if told.reason == "image_unavailable" else (IMAGE,) if told.make_image else ()
    content = Content(text_sha256=CONTENT.text_sha256, language=told.language, truncated=False, images=make_image)
    titles = {policy.id: policy.title.in_language(told.language) for policy in pack.policies}
    decision = decide(parts, told.reason)
    said = template_explanation(parts, titles, told.language)
    made = verdict(
        verdict_id=f"{abs(hash((name, revision))):032x}",
        post_id=name,
        post_revision=revision,
        decision=decision,
        abstain_reason=told.reason if decision == "abstain" else None,
        flags=flags(content, suspected=is_suspected(told.text)),
        policies=parts,
        content=content,
        explanation=said or (abstention_sentence(told.reason, told.language) if told.reason else None),
        explanation_kind="template",
        policy_set_digest=pack.digest,
        timings_ms=Timings(
            queue=1, fetch=0, decode=2, score=12, attribution=9, explain=0, total=float(rng.gamma(9, 3))
        ),
        judged_at=at,
    )
    policies = {policy.id: policy for policy in pack.policies}
    post = Post(post_id=name, revision=revision, text=told.text or "x")
    return made.model_copy(update={"statement_of_reasons": draft_statement(made, post, policies, told.language)})


async def keep(database: AsyncEngine, told: Told, made: Verdict) -> None:
    """A post with its verdict and its thumbnail, as ingest leaves them."""
    images = tuple(ImageRef(url="https://cdn.example/p.jpg") for _ in made.content.images)
    async with database.begin() as connection:
        post = Post(post_id=made.post_id, revision=made.post_revision, text=told.text, images=images)
        await posts.put(connection, post, None)
        await verdicts.put(connection, made, made.judged_at)
        if images and made.decision != "allow":
            row = {"post_id": made.post_id, "revision": made.post_revision, "position": 0}
            await connection.execute(insert(thumbnails).values(**row, **_thumbnail(told)))


async def fill(database: AsyncEngine, pack: PolicyPack, many: int, *, decided: int = 0) -> list[Verdict]:
    """So many posts over the last hours, of which the oldest are decided; the others wait."""
    rng, now = np.random.default_rng(7), datetime.now(UTC)
    kept = []
    for number, told in zip(range(many), itertools.cycle(TOLD), strict=False):
        at = now - timedelta(minutes=2 + 1200 * (1 - number / many) ** 2)
        made = judged(told, pack, f"p-{number:03d}", at, rng=rng)
        await keep(database, told, made)
        kept.append(made)
    for made in kept[:decided]:
        await _decide(database, made, made.judged_at + timedelta(minutes=float(rng.exponential(9))), rng)
    return kept


async def ran(database: AsyncEngine, pack: PolicyPack) -> None:
    """All cases were run and are as expected, but the first."""
    now = datetime.now(UTC) - timedelta(minutes=4)
    rows = [
        {
            "policy_id": policy.id,
            "case_name": case.name,
            "policy_digest": policy.digest,
            "as_expected": bool(number),
            "decided": case.expect if number and case.expect != "violation" else "review",
            "score": 0.9 if case.expect == "block" else 0.6 if case.expect != "allow" else 0.03,
            "ran_at": now,
        }
        for number, (policy, case) in enumerate((policy, case) for policy in pack.policies for case in policy.cases)
    ]
    async with database.begin() as connection:
        await connection.execute(insert(case_results), rows)


async def _decide(database: AsyncEngine, made: Verdict, at: datetime, rng: np.random.Generator) -> None:
    agreed = bool(rng.random() < 0.8)
    violated = [part.policy_id for part in made.policies if part.violated]
    if made.decision == "allow":
        return
    row = {
        "verdict_id": made.verdict_id,
        "post_id": made.post_id,
        "post_revision": made.post_revision,
        "decision": "block" if agreed and violated else "allow",
        "verdict_decision": made.decision,
        "policies": [{"policy_id": one, "violated": agreed, "attribution_class": None} for one in violated],
        "reason": "" if agreed else "A museum's own photograph",
        "reviewed_at": at,
    }
    people = ["mei", "ann"] if rng.random() < 0.3 else ["mei"]
    async with database.begin() as connection:
        for person in people:
            row |= {"review_id": f"{made.verdict_id[:24]}{person}", "reviewer": person}
            await connection.execute(insert(reviews).values(row))
        await _is_decided(connection, made.verdict_id)


async def _is_decided(connection: AsyncConnection, verdict_id: str) -> None:
    """The job of a verdict is done."""
    of = tables.verdicts.c
    seq = select(of.seq).where(of.verdict_id == verdict_id).scalar_subquery()
    await connection.execute(update(tables.jobs).where(tables.jobs.c.verdict_seq == seq).values(state="decided"))


def _part(pack: PolicyPack, policy_id: str, views: Views) -> PolicyVerdict:
    policy = next(one for one in pack.policies if one.id == policy_id)
    limits = Thresholds(review=policy.thresholds.review, block=policy.thresholds.block)
    joint, text, image = views
    measured = text is not None or image is not None
    return POLICY.model_copy(
        update={
            "policy_id": policy_id,
            "version": policy.version,
            "digest": policy.digest,
            "severity": policy.severity,
            "thresholds": limits,
            "score": joint,
            "raw_score": joint,
            "violated": joint >= limits.review,
            "outcome": outcome(joint, limits),
            "attribution": attribute(joint, text, image, limits.review) if measured else None,
        }
    )


def _low(rng: np.random.Generator) -> float:
    return round(float(rng.beta(1, 14)), 3)


def _thumbnail(told: Told) -> dict[str, object]:
    if told.make_image is None:
        return {"status": "unavailable", "sha256": None, "width": None, "height": None, "image": None}
    out = BytesIO()
    make_image = render(told.make_image, np.random.default_rng(len(told.text)), size=SIDE)
    make_image.save(out, "WEBP", quality=80)
    size = {"width": make_image.width, "height": make_image.height}
    return {"status": "judged", "sha256": IMAGE.sha256, **size, "image": out.getvalue()}
