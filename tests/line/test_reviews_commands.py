"""Reviews as labels: from files, and from the topic as a reviewer's desk writes them."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from moderation_service.contracts.post import Post
from moderation_service.demo.images import render
from moderation_service.kafka.topic_io import Record, publish
from moderation_service.kafka.topics import create
from moderation_service.settings import KafkaSettings
from tests.contracts.examples import POLICY, verdict
from tests.line.service import environment, kafka_settings, moderation


def review(post_id: str, *, violated: bool, policy: str = "weapon_sale") -> dict[str, Any]:
    return {
        "review_id": f"r-{post_id}",
        "verdict_id": f"v-{post_id}",
        "post_id": post_id,
        "post_revision": 1,
        "decision": "block" if violated else "allow",
        "policies": [{"policy_id": policy, "violated": violated}],
        "reviewer": "ann",
        "reviewed_at": "2026-05-01T09:00:00Z",
    }


def written(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return str(path)


def recorded(name: str, raw: float) -> bytes:
    policies = (POLICY.model_copy(update={"raw_score": raw}),)
    return verdict(verdict_id=f"v-{name}", post_id=name, policies=policies).to_json()


async def test_reviewed_posts_are_judged_again_and_reviews_of_unknown_ones_are_named(tmp_path: Path) -> None:
    render("weapon", np.random.default_rng(1)).save(tmp_path / "knife.png")
    posts = written(
        tmp_path / "posts.jsonl",
        {"post_id": "a", "text": "Lightly used, DM me for the price", "images": [{"url": "file:knife.png"}]},
        {"post_id": "b", "text": "hello"},
    )
    told = [review(name, violated=name == "a") for name in ("a", "b", "c")]
    reviews = written(tmp_path / "reviews.jsonl", *told)
    code, out, err = await moderation("evaluate", reviews, "--posts", posts)
    assert code == 1, err  # some are left out
    figures = json.loads(out)
    assert (figures["data"]["posts"], figures["data"]["left_out"]) == (2, 1)
    assert (figures["overall"]["joint"]["answers"], figures["overall"]["joint"]["violations"]) == (2, 1)
    assert f"left out: {reviews}:3: post c, revision 1: not among the posts" in err

    code, _, err = await moderation("evaluate", reviews)
    assert (code, "holds reviews; name the posts that they are of with --posts" in err) == (2, True)


async def test_options_of_reviews_that_do_not_go_together_are_refused() -> None:
    for arguments, says in (
        (("evaluate", "bundled", "--posts", "p.jsonl"), "bundled: takes no --posts"),
        (("calibrate", "reviews", "--verdicts", "v.jsonl", "-o", "c.json"), "reviews: takes no --posts or --verdicts"),
        (("calibrate", "r", "--posts", "p", "--verdicts", "v", "-o", "c"), "--posts and --verdicts: one of the two"),
        (("evaluate", "no.jsonl", "--posts", "no.jsonl"), "no.jsonl"),
    ):
        code, out, err = await moderation(*arguments)
        assert (code, out) == (2, "")
        assert says in err.splitlines()[-1]


async def test_reviews_of_recorded_verdicts_calibrate_without_a_model(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    bad = rng.random(200) < 0.5
    scores = np.clip(rng.normal(0.6 + 0.2 * bad, 0.1), 0.01, 0.99)
    verdicts = tmp_path / "verdicts.jsonl"
    verdicts.write_bytes(b"\n".join(recorded(f"p{at}", float(score)) for at, score in enumerate(scores)))
    reviews = written(
        tmp_path / "reviews.jsonl", *(review(f"p{at}", violated=bool(is_bad)) for at, is_bad in enumerate(bad))
    )
    out = tmp_path / "calibration.json"
    env = environment(MODERATION_ENGINE__MODEL="/no/such/model")
    code, _, err = await moderation("calibrate", reviews, "--verdicts", str(verdicts), "-o", str(out), env=env)
    assert code == 0, err
    made = json.loads(out.read_text(encoding="utf-8"))
    assert made["policies"]["weapon_sale"]["slope"] > 0
    assert (made["fitted_on"]["posts"], made["fitted_on"]["model"]) == (200, "demo")


async def topics(kafka: str, reviews: list[dict[str, Any]], more: list[Record], settings: KafkaSettings) -> None:
    await create(settings, partitions=2, replication=1)
    told = [Record(settings.review_topic, one["post_id"].encode(), json.dumps(one).encode()) for one in reviews]
    await publish(settings, [*more, *told])


async def test_the_review_topic_is_read_to_its_end_with_the_posts_and_the_verdicts(kafka: str, tmp_path: Path) -> None:
    settings = kafka_settings(kafka)
    posts = [Post(post_id=name, text="hello") for name in ("a", "b", "deleted", "unreviewed")]
    records = [
        *(Record(settings.input_topic, one.post_id.encode(), one.model_dump_json().encode()) for one in posts),
        Record(settings.input_topic, b"deleted", None),
        *(Record(settings.output_topic, name.encode(), recorded(name, 0.5)) for name in ("a", "b", "deleted")),
        Record(settings.output_topic, b"deleted", None),
        Record(settings.review_topic, b"x", b"{not json"),
    ]
    await topics(kafka, [review(name, violated=False) for name in ("a", "b", "deleted")], records, settings)
    env = environment(settings)
    code, out, err = await moderation("evaluate", "reviews", env=env)
    assert code == 1, err  # some are left out
    figures = json.loads(out)
    assert (figures["data"]["source"], figures["data"]["posts"]) == (settings.review_topic, 2)
    assert figures["data"]["left_out"] == 2
    assert "post deleted, revision 1: not among the posts" in err
    assert f"left out: {settings.review_topic}:" in err

    code, _, err = await moderation("calibrate", "reviews", "-o", str(tmp_path / "c.json"), env=env)
    assert code == 1
    assert "verdict v-deleted: not among the verdicts" in err
    assert "refused: weapon_sale: 0 labelled violating posts" in err
