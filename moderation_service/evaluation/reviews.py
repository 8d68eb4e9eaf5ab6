"""People's reviews as labels: joined with the posts that they are of, or with the verdicts.

The last word on each policy counts. A review that labels nothing, or that goes with no post or verdict, is left out
and named. What people review is mostly what was flagged: such labels say little of low scores, and recall among them
is not recall on the platform.
"""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from pydantic import ValidationError

from moderation_service.audits.agreement import differ
from moderation_service.contracts.base import Contract, fault_of, validate_json
from moderation_service.contracts.enums import AuditRound
from moderation_service.contracts.post import Post
from moderation_service.contracts.review import PolicyReview, Review
from moderation_service.contracts.verdict import Model, Verdict
from moderation_service.errors import Misconfigured
from moderation_service.evaluation.calibrators import Examples, ExampleSource
from moderation_service.evaluation.labelled import Labelled
from moderation_service.evaluation.row_reader import RowReader
from moderation_service.policies.model import digest_of
from moderation_service.readers.rows import BadPost, Row

_Read = TypeVar("_Read", bound=Contract)
_Key = TypeVar("_Key")


@dataclass(frozen=True, slots=True)
class Word:
    """What was said last of one policy, and where."""

    where: str
    said: PolicyReview


def of_posts(reviews: Iterable[Row], posts: Iterable[Post | BadPost], reader: RowReader) -> list[Labelled | BadPost]:
    """Each reviewed post with the labels of its newest reviewed revision; and what is left out."""
    said, left_out = _read(Review, reviews)
    wanted = {_post_of(review) for _, review in said}
    known: dict[tuple[str, int], Post] = {}
    newest: dict[str, int] = {}
    for post in posts:
        if isinstance(post, BadPost):
            left_out.append(post)
        elif (key := (post.post_id, post.revision)) in wanted:
            known[key] = post
            newest[post.post_id] = max(post.revision, newest.get(post.post_id, 0))

    def why_not(review: Review) -> str | None:
        named = f"post {review.post_id}, revision {review.post_revision}"
        if _post_of(review) not in known:
            return f"{named}: not among the posts"
        return f"{named}: a later one is reviewed too" if review.post_revision < newest[review.post_id] else None

    words = _last_words(said, _post_of, why_not, left_out)
    return [*(row for key, parts in words.items() for row in _labelled(known[key], parts, reader)), *left_out]


def of_verdicts(reviews: Iterable[Row], verdicts: Iterable[Row]) -> tuple[ExampleSource, list[BadPost]]:
    """Examples from the recorded raw scores; and what is left out.

    Only verdicts of the latest reviewed verdict's model, revision and prompt are taken, and of each policy its newest
    version: scores of others are not comparable. Raises Misconfigured where no review goes with a verdict.
    """
    said, left_out = _read(Review, reviews)
    wanted = {review.verdict_id for _, review in said}
    read, wrong = _read(Verdict, (one for one in verdicts if _is_wanted(one, wanted)))
    left_out += wrong
    known = {verdict.verdict_id: verdict for _, verdict in read}
    if not known:
        first = f"; the first left out: {left_out[0].where}: {left_out[0].why}" if left_out else ""
        msg = f"none of {len(said)} reviews goes with a verdict{first}"
        raise Misconfigured(msg)
    model = max(known.values(), key=lambda verdict: verdict.judged_at).model

    def why_not(review: Review) -> str | None:
        verdict = known.get(review.verdict_id)
        if verdict is None:
            return f"verdict {review.verdict_id}: not among the verdicts"
        if _scores_of(verdict.model) != _scores_of(model):
            return f"verdict {review.verdict_id}: scores of another model or prompt than the latest verdict's"
        return None

    words = _last_words(said, lambda review: review.verdict_id, why_not, left_out)
    asked = {name: {part.policy_id: part for part in (*known[name].policies, *known[name].shadow)} for name in words}
    versions: dict[str, int] = {}
    for parts in asked.values():
        versions |= {policy: max(part.version, versions.get(policy, 0)) for policy, part in parts.items()}
    rows: dict[str, list[tuple[float, bool, str]]] = {}
    for name, answers in sorted(words.items()):
        for policy, word in sorted(answers.items()):
            part = asked[name].get(policy)
            if part is None:
                left_out.append(BadPost(word.where, f"policies.{policy}: not asked in verdict {name}"))
            elif part.version < versions[policy]:
                left_out.append(
                    BadPost(word.where, f"policies.{policy}: version {part.version}, since {versions[policy]}")
                )
            else:
                rows.setdefault(policy, []).append((part.raw_score, word.said.violated, known[name].post_id))
    posts = {post for kept in rows.values() for _, _, post in kept}
    digest = digest_of([[policy, *map(list, kept)] for policy, kept in rows.items()])
    return ExampleSource(
        {policy: _examples(kept) for policy, kept in rows.items()}, model, len(posts), digest
    ), left_out


def without_routed(reviews: Iterable[Row], verdicts: Iterable[Row]) -> list[Row]:
    """The reviews, those of a post that any verdict gives a route replaced by why they are left out."""
    routed = {row["post_id"] for _, row in verdicts if isinstance(row, dict) and row.get("route")}
    why = "the post has a route, so it is no example"
    return [
        (where, BadPost(where, why) if isinstance(row, dict) and row.get("post_id") in routed else row)
        for where, row in reviews
    ]


def settled(reviews: Iterable[Row]) -> list[Row]:
    """The blind answers of audits alone; those of a post on which two differ, and none has adjudicated, are left out.

    A row that is no review stays, to be named.
    """
    blind = [row for row in reviews if isinstance(row[1], BadPost) or row[1].get("audit")]
    answers = dict[tuple[str, int], dict[AuditRound, dict[str, bool]]]()
    for _, review in _read(Review, blind)[0]:
        if review.audit:
            said = {part.policy_id: part.violated for part in review.policies}
            answers.setdefault(_post_of(review), {})[review.audit.round] = said
    disputed = {
        post
        for post, rounds in answers.items()
        if differ(rounds.get(AuditRound.FIRST, {}), rounds.get(AuditRound.SECOND, {}))
        and AuditRound.ADJUDICATION not in rounds
    }
    why = "two blind answers differ, and none has adjudicated"
    return [
        (where, row)
        if isinstance(row, BadPost) or (row.get("post_id"), row.get("post_revision")) not in disputed
        else (where, BadPost(where, why))
        for where, row in blind
    ]


def posts_of(reviews: Iterable[Row]) -> frozenset[bytes]:
    """The keys, on any topic, of what is reviewed."""
    named = (row["post_id"] for _, row in reviews if isinstance(row, dict) and isinstance(row.get("post_id"), str))
    return frozenset(name.encode(errors="replace") for name in named)


def _read(contract: type[_Read], rows: Iterable[Row]) -> tuple[list[tuple[str, _Read]], list[BadPost]]:
    """The rows that are as the contract has them, each with its place; and those that are not."""
    read: list[tuple[str, _Read]] = []
    wrong: list[BadPost] = []
    for where, row in rows:
        if isinstance(row, BadPost):
            wrong.append(row)
            continue
        try:
            read.append((where, validate_json(contract, json.dumps(row).encode())))
        except ValidationError as error:
            wrong.append(BadPost(where, fault_of(error)))
    return read, wrong


def _last_words(
    said: Sequence[tuple[str, Review]],
    of: Callable[[Review], _Key],
    why_not: Callable[[Review], str | None],
    left_out: list[BadPost],
) -> dict[_Key, dict[str, Word]]:
    """By what is reviewed, and by policy. Reviews that label nothing, or that `why_not` has a reason for, are named.

    A second answer in an audit is no later word: it agrees with the first, or the adjudication settles it.
    """
    words: dict[_Key, dict[str, Word]] = {}
    for where, review in sorted(said, key=lambda one: one[1].reviewed_at):
        if review.audit and review.audit.round is AuditRound.SECOND:
            continue
        why = why_not(review) or (None if review.policies else "policies: names none, so it labels nothing")
        if why:
            left_out.append(BadPost(where, why))
        else:
            words.setdefault(of(review), {}).update({part.policy_id: Word(where, part) for part in review.policies})
    return words


def _labelled(post: Post, words: Mapping[str, Word], reader: RowReader) -> Iterator[Labelled | BadPost]:
    """The post with its labels; a policy that is gone since is named, and the others count."""
    gone = words.keys() - reader.policies
    yield from (BadPost(words[name].where, f"policies.{name}: no such policy now") for name in sorted(gone))
    kept = {name: word for name, word in words.items() if name not in gone}
    if kept:
        fields: dict[str, Any] = post.model_dump(mode="json")
        fields["attribution"] = {name: word.said.attribution_class for name, word in kept.items()}
        *_, last = (word.where for word in kept.values())
        yield reader.row(last, fields, {name: word.said.violated for name, word in kept.items()})


def _examples(rows: Sequence[tuple[float, bool, str]]) -> Examples:
    scores, truths, posts = zip(*rows, strict=True)
    family = np.unique(posts, return_inverse=True)[1].astype(np.int64)
    return Examples(np.array(scores, float), np.array(truths, bool), family)


def _is_wanted(row: Row, verdict_ids: Collection[str]) -> bool:
    """Whether a row is one of these verdicts, or none at all, which is to be named."""
    _, fields = row
    name = None if isinstance(fields, BadPost) else fields.get("verdict_id")
    return not isinstance(name, str) or name in verdict_ids


def _post_of(review: Review) -> tuple[str, int]:
    return review.post_id, review.post_revision


def _scores_of(model: Model) -> tuple[str, str, str]:
    return model.name, model.revision, model.prompt_digest
