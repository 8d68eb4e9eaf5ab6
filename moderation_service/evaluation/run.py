"""Judge labelled posts, each with all its views, through the same judge as live traffic."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO

from moderation_service.contracts.verdict import Verdict
from moderation_service.evaluation.batch_judge import judge_into
from moderation_service.evaluation.labelled import Labelled
from moderation_service.judging.judge import Judge
from moderation_service.settings import Settings


@dataclass(frozen=True, slots=True)
class JudgedPost:
    """A labelled post with its verdict."""

    labelled: Labelled
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Run:
    """All labelled posts that have a verdict, the posts that have none with the reason, and seconds taken."""

    judged: tuple[JudgedPost, ...]
    unjudged: tuple[str, ...]
    seconds: float


def with_all_passes(settings: Settings) -> Settings:
    """The same settings with each view of each post scored, and nothing explained: what `judge_all` wants."""
    judging = settings.judging.model_copy(update={"attribution": "always", "explain": "never"})
    return settings.model_copy(update={"judging": judging})


async def judge_all(
    judge: Judge,
    labelled: Sequence[Labelled],
    out: IO[bytes] | None = None,
    on_done: Callable[[Verdict], None] = lambda _: None,
) -> Run:
    """Judge every post; the verdicts go to `out`, if any, as JSON lines, and `on_done` hears of each.

    Raises Transient where tries did not help, and Fatal.
    """
    verdicts: dict[str, Verdict] = {}

    def keep(verdict: Verdict) -> None:
        verdicts[verdict.post_id] = verdict
        on_done(verdict)

    begun = time.perf_counter()
    unjudged = await judge_into(judge, [one.post for one in labelled], out, keep)
    seconds = time.perf_counter() - begun
    # In the order of the posts, whatever was ready first: the same input gives the same figures.
    judged = (JudgedPost(one, verdicts[one.post.post_id]) for one in labelled if one.post.post_id in verdicts)
    return Run(tuple(judged), tuple(unjudged), seconds)
