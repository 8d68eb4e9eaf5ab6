import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from moderation_service.contracts.post import Post
from moderation_service.errors import Misconfigured
from moderation_service.evaluation.labelled import Labelled
from moderation_service.evaluation.reviews import of_posts, of_verdicts, settled, without_routed
from moderation_service.evaluation.row_reader import RowReader
from moderation_service.readers.rows import BadPost, Row, json_rows
from tests.contracts.examples import MODEL, POLICY, verdict

POLICIES = frozenset({"weapon_sale", "doxxing"})
POSTS = [Post(post_id="p-1", text="x"), Post(post_id="p-2", text="y", revision=3)]
ELSEWHERE = {"policies": [{"policy_id": "weapon_sale", "violated": True, "attribution_class": "none"}]}


def review(post_id: str = "p-1", minute: int = 0, **changes: Any) -> dict[str, Any]:
    """A review as it stands on the topic: `weapon_sale` is violated."""
    return {
        "review_id": f"r-{minute}",
        "verdict_id": f"v-{post_id}",
        "post_id": post_id,
        "post_revision": 1,
        "decision": "block",
        "policies": [{"policy_id": "weapon_sale", "violated": True}],
        "reviewer": "ann",
        "reviewed_at": f"2026-01-01T00:{minute:02}:00Z",
        **changes,
    }


def says(violated: bool, policy: str = "weapon_sale") -> dict[str, Any]:  # noqa: FBT001
    return {"policies": [{"policy_id": policy, "violated": violated}]}


def rows(folder: Path, *written: Any) -> Iterator[Row]:
    path = folder / "rows.jsonl"
    lines = (row if isinstance(row, str) else json.dumps(row) for row in written)
    path.write_text("\n".join(lines), encoding="utf-8")
    return json_rows(path)


def recorded(name: str, raw: float, **changes: Any) -> dict[str, Any]:
    """A verdict of the post `name` as `moderation verdicts` prints it."""
    policies = (POLICY.model_copy(update={"raw_score": raw}),)
    made = verdict(verdict_id=f"v-{name}", post_id=name, **{"policies": policies, **changes})
    found: dict[str, Any] = json.loads(made.to_json())
    return found


def joined(folder: Path, *reviews: Any, posts: Sequence[Post | BadPost] = POSTS) -> list[Labelled | BadPost]:
    return of_posts(rows(folder, *reviews), posts, RowReader(folder, POLICIES, None))


def labels(found: list[Labelled | BadPost]) -> dict[str, dict[str, bool]]:
    return {one.post.post_id: dict(one.labels) for one in found if isinstance(one, Labelled)}


def faults(found: Sequence[Labelled | BadPost]) -> list[tuple[int, str]]:
    """Line and reason of each row left out."""
    return sorted((int(one.where.rpartition(":")[2]), one.why) for one in found if isinstance(one, BadPost))


def test_the_last_word_on_each_policy_of_a_post_counts_wherever_it_stands(tmp_path: Path) -> None:
    found = joined(
        tmp_path,
        review(minute=5, **says(violated=False)),
        review(minute=1),
        review(minute=2, **says(violated=True, policy="doxxing")),
        review("p-2", post_revision=3),
    )
    assert labels(found) == {"p-1": {"weapon_sale": False, "doxxing": True}, "p-2": {"weapon_sale": True}}
    assert not faults(found)


def test_a_second_answer_of_an_audit_is_no_later_word_and_its_adjudication_is(tmp_path: Path) -> None:
    def answer(minute: int, asked: str, violated: bool) -> dict[str, Any]:  # noqa: FBT001
        drawn = {"round": asked, "stratum": "block", "probability": 0.5}
        return review(minute=minute, audit=drawn, **says(violated))

    answers = [answer(0, "first", False), answer(1, "second", True)]
    assert labels(joined(tmp_path, *answers)) == {"p-1": {"weapon_sale": False}}
    answers.append(answer(2, "adjudication", True))
    assert labels(joined(tmp_path, *answers)) == {"p-1": {"weapon_sale": True}}


def test_a_reviewers_attribution_is_the_label_s(tmp_path: Path) -> None:
    part = {"policy_id": "weapon_sale", "violated": True, "attribution_class": "combined"}
    (one,) = joined(tmp_path, review(policies=[part]))
    assert isinstance(one, Labelled)
    assert one.attribution == {"weapon_sale": "combined"}


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("{not json", "not JSON"),
        ("[1]", "should be a JSON object"),
        ({"review_id": "r"}, "verdict_id: Field required"),
        (review(reviewed_at="yesterday"), "reviewed_at: Input should be a valid datetime"),
        (review(decision="maybe"), "decision: Input should be 'allow' or 'block'"),
        (review(policies=[]), "policies: names none, so it labels nothing"),
        (review("p-9"), "post p-9, revision 1: not among the posts"),
        (review(post_revision=2), "post p-1, revision 2: not among the posts"),
        (review("p-2", post_revision=3, **says(violated=True, policy="gone")), "policies.gone: no such policy now"),
        (review("p-2", post_revision=3, **ELSEWHERE), "attribution.weapon_sale: none does not go with the label True"),
    ],
)
def test_a_wrong_review_is_named_with_its_line_and_the_rest_goes_on(tmp_path: Path, row: Any, why: str) -> None:
    found = joined(tmp_path, review(), row, review(minute=1, **says(violated=False)))
    assert labels(found) == {"p-1": {"weapon_sale": False}}
    line, said = faults(found)[0]
    assert line == 2
    assert said.startswith(why)


def test_an_answer_on_a_policy_that_is_gone_leaves_the_others(tmp_path: Path) -> None:
    parts = [{"policy_id": name, "violated": True} for name in ("gone", "doxxing")]
    found = joined(tmp_path, review(policies=parts))
    assert labels(found) == {"p-1": {"doxxing": True}}
    assert faults(found) == [(1, "policies.gone: no such policy now")]


def test_of_a_post_with_several_reviewed_revisions_the_newest_is_taken(tmp_path: Path) -> None:
    posts = [
        *POSTS,
        Post(post_id="p-1", text="again", revision=2),
        Post(post_id="p-1", text="not reviewed", revision=3),
    ]
    found = joined(tmp_path, review(minute=9), review(minute=1, post_revision=2, **says(violated=False)), posts=posts)
    assert labels(found) == {"p-1": {"weapon_sale": False}}
    assert faults(found) == [(1, "post p-1, revision 1: a later one is reviewed too")]


def test_a_broken_post_is_named_and_one_that_nobody_reviewed_is_no_fault(tmp_path: Path) -> None:
    found = joined(tmp_path, review(), posts=[*POSTS, BadPost("posts.jsonl:3", "not JSON")])
    assert labels(found) == {"p-1": {"weapon_sale": True}}
    assert faults(found) == [(3, "not JSON")]


def test_recorded_scores_are_joined_with_the_last_word_on_their_verdict(tmp_path: Path) -> None:
    older = MODEL.model_copy(update={"revision": "r0"})
    verdicts = [
        recorded("p-1", 0.9),
        recorded("p-2", 0.4),
        recorded("p-3", 0.8, model=older, judged_at=verdict().judged_at.replace(year=2025)),
        recorded("p-4", 0.1),  # nobody reviewed it
        {"verdict_id": "v-p-5"},  # nobody asks for it either
    ]
    reviews = [
        review(minute=5, **says(violated=False)),
        review(minute=1),
        review("p-2"),
        review("p-3"),
        review("p-9"),
        review("p-2", minute=7, **says(violated=True, policy="doxxing")),
        "{not json",
    ]
    found, left_out = of_verdicts(rows(tmp_path, *reviews), [("v:1", one) for one in verdicts])
    assert found.policies["weapon_sale"].score.tolist() == [0.9, 0.4]
    assert found.policies["weapon_sale"].truth.tolist() == [False, True]
    assert (found.posts, found.model.revision, [*found.policies]) == (2, "r1", ["weapon_sale"])
    *named, (line, why) = faults(left_out)
    assert named == [
        (4, "verdict v-p-3: scores of another model or prompt than the latest verdict's"),
        (5, "verdict v-p-9: not among the verdicts"),
        (6, "policies.doxxing: not asked in verdict v-p-2"),
    ]
    assert line == 7
    assert why.startswith("not JSON")
    again, _ = of_verdicts(rows(tmp_path, *reversed(reviews)), [("v:1", one) for one in verdicts])
    assert found.digest == again.digest


def test_scores_of_an_older_version_of_a_policy_are_left_out(tmp_path: Path) -> None:
    older = POLICY.model_copy(update={"version": POLICY.version - 1})
    verdicts = [recorded("p-1", 0.9), recorded("p-2", 0.4, policies=(older,))]
    found, left_out = of_verdicts(rows(tmp_path, review(), review("p-2")), [("v:1", one) for one in verdicts])
    assert found.policies["weapon_sale"].score.tolist() == [0.9]
    assert faults(left_out) == [(2, "policies.weapon_sale: version 2, since 3")]


def test_a_verdict_that_is_none_is_named_with_its_line(tmp_path: Path) -> None:
    reviews = [*rows(tmp_path, review())]
    verdicts = [*rows(tmp_path, recorded("p-1", 0.9), {"verdict_id": "v-p-1"}, {"post_id": "p-1"}, "[]")]
    _, left_out = of_verdicts(reviews, verdicts)
    assert [(line, why.split(":")[0]) for line, why in faults(left_out)] == [
        (2, "post_id"),
        (3, "verdict_id"),
        (4, "should be a JSON object"),
    ]


def test_reviews_that_go_with_no_verdict_are_refused_with_the_first_reason(tmp_path: Path) -> None:
    reviews = [*rows(tmp_path, review(), review("p-2"))]
    posts_instead = [*rows(tmp_path, {"post_id": "p-1", "text": "x"})]
    with pytest.raises(
        Misconfigured, match=r"none of 2 reviews goes with a verdict; the first left out: .*:1: verdict_id"
    ):
        of_verdicts(reviews, posts_instead)
    with pytest.raises(Misconfigured, match=r"none of 2 reviews goes with a verdict$"):
        of_verdicts(reviews, [])


def test_reviews_of_a_post_with_a_route_are_left_out_by_any_of_its_verdicts(tmp_path: Path) -> None:
    reviews = list(rows(tmp_path, review("p-1"), review("p-2")))
    verdicts = [recorded("p-1", 0.9), recorded("p-1", 0.9, route="child_safety"), recorded("p-2", 0.9)]
    kept = without_routed(reviews, [("v:1", one) for one in verdicts])
    assert kept == [(reviews[0][0], BadPost(reviews[0][0], "the post has a route, so it is no example")), reviews[1]]


def blind(post_id: str, which: str, *, violated: bool, minute: int = 0) -> dict[str, Any]:
    audit = {"round": which, "stratum": "allow", "probability": 0.01}
    return review(post_id, minute, audit=audit, **says(violated))


def test_of_audits_what_two_people_differ_on_counts_once_it_is_adjudicated(tmp_path: Path) -> None:
    agreed = [blind("p-1", "first", violated=True), blind("p-1", "second", violated=True)]
    open_ = [blind("p-2", "first", violated=True), blind("p-2", "second", violated=False)]
    closing = blind("p-2", "adjudication", violated=False, minute=9)
    sighted = review("p-2", minute=30)
    found = settled(rows(tmp_path, *agreed, *open_, sighted))
    assert [row for _, row in found[:2]] == agreed
    assert [row.why for _, row in found[2:] if isinstance(row, BadPost)] == [
        "two blind answers differ, and none has adjudicated"
    ] * 2
    assert len(found) == 4
    assert [row for _, row in settled(rows(tmp_path, *open_, closing, sighted))] == [*open_, closing]
