"""Replay: a recorded verdict against one made now. The same, or what differs."""

import secrets
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from typing import Literal

from pydantic import BaseModel, JsonValue

from moderation_service.contracts.post import Post
from moderation_service.contracts.verdict import ImageContent, PolicyVerdict, Verdict
from moderation_service.evaluation.batch_judge import for_each
from moderation_service.evaluation.verdict_file import RecordedVerdict, VerdictFile
from moderation_service.judging.calibration import Calibration
from moderation_service.judging.judge import Judge

TOLERANCE: Mapping[str, float] = {"float32": 1e-4, "bfloat16": 0.05}
"""By dtype, how far two raw scores of the same input may lie apart: a batch's shape moves the last bits."""

APART = frozenset(
    {"service", "trace_id", "timings_ms", "judged_at", "duplicate_of"}  # of the run, not of the judgement
    | {"author_id", "metadata", "post_language"}  # handed on
    | {"detected_language", "explanation", "explanation_kind", "statement_of_reasons"}  # made from the rest
    | {"banks_digest", "similar_to"}  # of what stood beside the post; the matches are compared
    | {"audit", "trigger"}  # of what becomes of the verdict, and why the post was judged
    | {"shadow_model"}  # of a share of the posts, where it answered in time
)
"""Fields of a verdict that are not compared."""

_IMAGE_FIRST = {"status": 0, "sha256": 1}
_DERIVED = frozenset({"pdq", "pdq_quality", "text"})  # from the image's bytes and the decision, which are compared
_SCORES = frozenset({"score", "raw_score", "label_mass"})

Result = Literal["same", "differs", "no_post", "not_judged"]


@dataclass(frozen=True, slots=True)
class Difference:
    """One field of the verdict, as recorded and as it is now; null for what is not there."""

    what: str
    was: JsonValue
    now: JsonValue


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of one recorded verdict; `why` for one that could not be replayed.

    `other_banks`: the banks are not those of the recorded verdict, so a difference may come from them.
    """

    recorded: RecordedVerdict
    result: Result
    differences: tuple[Difference, ...] = ()
    why: str | None = None
    other_banks: bool = False

    def row(self) -> dict[str, JsonValue]:
        """As a line of JSON."""
        verdict = self.recorded.verdict
        return {
            "line": self.recorded.line,
            "post_id": verdict.post_id,
            "post_revision": verdict.post_revision,
            "verdict_id": verdict.verdict_id,
            "result": self.result,
            "why": self.why,
            "other_banks": self.other_banks,
            "differences": [{"what": each.what, "was": each.was, "now": each.now} for each in self.differences],
        }


def replayed(recorded: RecordedVerdict, now: Verdict, calibration: Calibration) -> Replayed:
    """Hold a recorded verdict against `now`, the one on the same post that `calibration` was used for."""
    found = tuple(_differences(recorded.verdict, now, calibration))
    other_banks = recorded.verdict.banks_digest != now.banks_digest
    return Replayed(recorded, "differs" if found else "same", found, other_banks=other_banks)


def _differences(was: Verdict, now: Verdict, calibration: Calibration) -> Iterator[Difference]:
    loosest = max(TOLERANCE.values())
    tolerance = max(TOLERANCE.get(verdict.model.dtype, loosest) for verdict in (was, now))
    yield from _fields("", was, now, but=APART | {"policies", "shadow", "content", "model"})
    yield from _fields("model.", was.model, now.model)
    yield from _fields("content.", was.content, now.content, but={"images"})
    for number, (one, other) in enumerate(zip_longest(was.content.images, now.content.images)):
        yield from _image(f"content.images[{number}]", one, other)
    for kind in ("policies", "shadow"):
        before = {part.policy_id: part for part in getattr(was, kind)}
        after = {part.policy_id: part for part in getattr(now, kind)}
        for policy in before | after:
            yield from _policy(f"{kind}.{policy}", before.get(policy), after.get(policy), calibration, tolerance)


def _fields(prefix: str, was: BaseModel, now: BaseModel, *, but: Collection[str] = ()) -> Iterator[Difference]:
    one, other = (model.model_dump(mode="json", exclude=set(but)) for model in (was, now))
    yield from (Difference(prefix + name, one[name], other[name]) for name in one if one[name] != other[name])


def _image(name: str, was: ImageContent | None, now: ImageContent | None) -> Iterator[Difference]:
    """The first difference alone: the rest follows from an image's status, and from its bytes."""
    if was is None or now is None:
        yield Difference(name, was.status if was else None, now.status if now else None)
        return
    weightiest = sorted(
        _fields(f"{name}.", was, now, but=_DERIVED), key=lambda each: _IMAGE_FIRST.get(each.what.split(".")[-1], 2)
    )
    yield from weightiest[:1]


def _policy(
    name: str, was: PolicyVerdict | None, now: PolicyVerdict | None, calibration: Calibration, tolerance: float
) -> Iterator[Difference]:
    if was is None or now is None:
        yield Difference(name, was.outcome if was else None, now.outcome if now else None)
        return
    yield from _fields(f"{name}.", was, now, but=_SCORES | {"attribution"})

    def far(one: float | None, other: float | None) -> bool:
        return one != other if one is None or other is None else abs(one - other) > tolerance

    for raw in ("raw_score", "label_mass"):
        if far(one := getattr(was, raw), other := getattr(now, raw)):
            yield Difference(f"{name}.{raw}", one, other)
    # A calibration may be steep: what it makes of two raw scores that are near each other may lie apart, and is right.
    follows = not far(was.raw_score, now.raw_score) and not far(
        calibration.apply(was.policy_id, was.raw_score), was.score
    )
    if far(was.score, now.score) and not follows:
        yield Difference(f"{name}.score", was.score, now.score)
    if was.attribution and now.attribution:  # null: the views did not run
        if was.attribution.class_ != now.attribution.class_:
            yield Difference(f"{name}.attribution.class", was.attribution.class_, now.attribution.class_)
        # Calibrated, and their raw scores are not recorded: they can be compared where the policy has no map.
        for view in () if was.policy_id in calibration.policies else ("text_only", "image_only"):
            if far(one := getattr(was.attribution, view), other := getattr(now.attribution, view)):
                yield Difference(f"{name}.attribution.{view}", one, other)


@dataclass(slots=True)
class Summary:
    """The counts of a replay, and the first example of each difference."""

    results: Counter[str] = field(default_factory=Counter)
    differences: Counter[str] = field(default_factory=Counter)
    first: dict[str, tuple[str, Difference]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    deleted: int = 0
    unrecorded: int = 0
    other_banks: int = 0

    @property
    def clean(self) -> bool:
        """Whether every row was read, and every verdict is the same."""
        return not self.left_out and self.results.keys() <= {"same"}

    def add(self, one: Replayed) -> None:
        """Count one verdict."""
        self.results[one.result] += 1
        self.other_banks += one.other_banks
        for difference in one.differences:
            self.differences[difference.what] += 1
            self.first.setdefault(difference.what, (one.recorded.verdict.post_id, difference))

    def line(self) -> str:
        """All counts in one line."""
        counts = {
            "the same": self.results["same"],
            "differ": self.results["differs"],
            "without their post": self.results["no_post"],
            "not judged": self.results["not_judged"],
            "recorded with other banks": self.other_banks,
            "posts without a verdict": self.unrecorded,
            "deleted": self.deleted,
            "rows left out": len(self.left_out),
        }
        some = (f"{count} {what}" for what, count in counts.items() if count or what == "the same")
        return f"{self.results.total()} verdicts: {', '.join(some)}"


async def replay(
    judge: Judge, record: VerdictFile, posts: Iterable[Post], on_done: Callable[[Replayed], None]
) -> Summary:
    """Judge recorded posts again; `on_done` is called with each verdict as it comes."""
    summary = Summary(deleted=record.deleted)
    missing = dict(record.verdicts)
    revisions = defaultdict[str, set[int]](set)

    def wanted() -> Iterator[Post]:
        for post in posts:
            revisions[post.post_id].add(post.revision)
            if missing.pop((post.post_id, post.revision), None):
                yield post
            else:
                summary.unrecorded += 1

    def done(one: Replayed) -> None:
        summary.add(one)
        on_done(one)

    async def work(post: Post) -> None:
        now = (await judge.judge(post, trace_id=secrets.token_hex(16))).verdict
        for recorded in record.verdicts[post.post_id, post.revision]:
            done(replayed(recorded, now, judge.calibration))

    for one in await for_each(wanted(), work):
        for recorded in record.verdicts[one.post.post_id, one.post.revision]:
            done(Replayed(recorded, "not_judged", why=one.why))
    for recorded in chain.from_iterable(missing.values()):
        there = ", ".join(map(str, sorted(revisions[recorded.verdict.post_id])))
        why = f"the posts hold revision {there} of it alone" if there else "the posts do not hold it"
        done(Replayed(recorded, "no_post", why=why))
    return summary


def attribution_of(record: VerdictFile) -> Literal["always", "never"]:
    """The `judging.attribution` of a replay: all modality passes if any recorded verdict measured one."""
    measured = (
        part.attribution and recorded.verdict.content.text_sha256 and recorded.verdict.content.images
        for recorded in chain.from_iterable(record.verdicts.values())
        for part in (*recorded.verdict.policies, *recorded.verdict.shadow)
    )
    return "always" if any(measured) else "never"
