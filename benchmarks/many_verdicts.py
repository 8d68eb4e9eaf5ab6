"""Records of as many verdicts as one likes, on the shipped policies: alike in size and kind to those of a worker."""

import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from moderation_service.bench.generated_posts import text
from moderation_service.contracts.enums import AbstainReason, AttributionClass, Decision, ImageStatus, Outcome
from moderation_service.contracts.post import Post
from moderation_service.contracts.verdict import (
    Attribution,
    Content,
    ImageContent,
    Model,
    PolicyVerdict,
    Service,
    Thresholds,
    Timings,
    Verdict,
)
from moderation_service.policies.model import Policy
from moderation_service.policies.pack import PolicyPack
from moderation_service.settings import KafkaSettings

SHARES = {Decision.ALLOW: 0.92, Decision.BLOCK: 0.02, Decision.REVIEW: 0.05, Decision.ABSTAIN: 0.01}
_PATTERNS = 200  # of each decision; scores and severities differ between them
_SPAN = timedelta(days=90)  # over which they were judged
_ID, _POST, _AT = "0" * 32, "p-0000000000", datetime(2000, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
_MOMENT = "%Y-%m-%dT%H:%M:%S.%f"
_TEXT = 200  # characters
_DIGEST = "sha256:" + "0" * 64


@dataclass(frozen=True, slots=True)
class GeneratedVerdicts:
    """A record as the console reads it of Kafka's."""

    topic: str
    partition: int
    offset: int
    key: bytes
    value: bytes


class ManyVerdicts:
    """Verdicts of different posts, in the order in which they were judged; the same for the same seed."""

    def __init__(self, pack: PolicyPack, count: int, seed: int) -> None:
        """`count` is how many there may be asked for."""
        self._rng = random.Random(seed)  # noqa: S311 - repeatable, no secret
        self._began, self._apart = datetime.now(UTC) - _SPAN, _SPAN / count
        self._patterns = {
            decision: [_pattern(pack, decision, self._rng).to_json() for _ in range(_PATTERNS)] for decision in SHARES
        }
        self._offsets = defaultdict[str, int](int)
        self._number = 0

    def some(self, count: int, kafka: KafkaSettings) -> Iterator[GeneratedVerdicts]:
        """The next ones on these topics, each with its post behind it where a person may want to see that."""
        for decision in self._rng.choices(list(SHARES), list(SHARES.values()), k=count):
            self._number += 1
            post_id = f"p-{self._number:010}".encode()
            value = self._rng.choice(self._patterns[decision])
            for mark, filled in (
                (_ID.encode(), f"{self._number:032x}".encode()),
                (_POST.encode(), post_id),
                (_AT.strftime(_MOMENT).encode(), (self._began + self._number * self._apart).strftime(_MOMENT).encode()),
            ):
                value = value.replace(mark, filled)
            yield self._record(kafka.output_topic, post_id, value)
            if decision.is_flagged:
                post = Post(post_id=post_id.decode(), text=text(self._rng, _TEXT))
                yield self._record(kafka.input_topic, post_id, post.model_dump_json().encode())

    def _record(self, topic: str, key: bytes, value: bytes) -> GeneratedVerdicts:
        self._offsets[topic] += 1
        return GeneratedVerdicts(topic, 0, self._offsets[topic] - 1, key, value)


def _pattern(pack: PolicyPack, decision: Decision, rng: random.Random) -> Verdict:
    """A verdict of this decision with marks in the place of what tells it from others."""
    outcome = Outcome.ALLOW if decision is Decision.ABSTAIN else Outcome(decision)
    flagged = rng.randrange(len(pack.enforced))
    policies = tuple(
        _judged(policy, outcome if number == flagged else Outcome.ALLOW, rng)
        for number, policy in enumerate(pack.enforced)
    )
    status = ImageStatus.JUDGED
    image = ImageContent(sha256="0" * 64, width=1024, height=768, frames=1, media_type="image/jpeg", status=status)
    return Verdict(
        verdict_id=_ID,
        post_id=_POST,
        post_revision=1,
        author_id="author-1",
        surface="feed",
        metadata={},
        decision=decision,
        abstain_reason=AbstainReason.LABEL_MASS_LOW if decision is Decision.ABSTAIN else None,
        flags=(),
        duplicate_of=None,
        policies=policies,
        shadow=(),
        explanation=None,
        content=Content(text_sha256="0" * 64, language=rng.choice(("en", "zh")), truncated=False, images=(image,)),
        model=Model(
            name="demo",
            revision=_DIGEST,
            dtype="bfloat16",
            quantization=None,
            engine="local",
            layout="post_first",
            prompt_digest=_DIGEST,
            calibration_id=_DIGEST,
        ),
        policy_set_digest=pack.digest,
        service=Service(version="1", instance="bench"),
        trace_id="0" * 31 + "1",
        timings_ms=Timings(queue=1, fetch=0, decode=2, score=40, attribution=18, explain=0, total=61),
        judged_at=_AT,
        statement_of_reasons=None,
    )


def _judged(policy: Policy, outcome: Outcome, rng: random.Random) -> PolicyVerdict:
    review, block = policy.thresholds.review, policy.thresholds.block or 1.0
    low, high = {Outcome.ALLOW: (0.0, review), Outcome.REVIEW: (review, block), Outcome.BLOCK: (block, 1.0)}[outcome]
    score = low + (high - low) * rng.random() * 0.999
    return PolicyVerdict(
        policy_id=policy.id,
        version=policy.version,
        digest=policy.digest,
        outcome=outcome,
        violated=outcome.is_flagged,
        severity=policy.severity,
        score=score,
        raw_score=score,
        label_mass=0.99,
        thresholds=Thresholds(review=review, block=block),
        attribution=Attribution(class_=AttributionClass.COMBINED, joint=score, text_only=0.11, image_only=0.22),
    )
