"""What `moderation evaluate` does: judge labelled posts, work out the figures, and write the report."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

from moderation_service.contracts.verdict import Verdict
from moderation_service.evaluation.figures import figures_of
from moderation_service.evaluation.labelled import Labelled
from moderation_service.evaluation.metric_block import Bootstrap
from moderation_service.evaluation.mistakes import with_images, worst
from moderation_service.evaluation.report import page
from moderation_service.evaluation.run import Run, judge_all
from moderation_service.judging.judge import Judge
from moderation_service.media.loader import ImageLoader


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A run and its figures."""

    run: Run
    figures: Mapping[str, Any]

    async def report(self, loader: ImageLoader, titles: Mapping[str, str]) -> str:
        """The HTML page; `loader` fetches the images of the worst errors once more, `titles` are by policy id."""
        mistakes = await with_images(worst(self.run.judged), loader.load)
        return page(self.run, self.figures, mistakes, titles)


async def evaluate(  # noqa: PLR0913 - what a run is made of, handed in by the composition root
    judge: Judge,
    posts: Sequence[Labelled],
    out: IO[bytes],
    *,
    source: str,
    left_out: int = 0,
    bootstrap: Bootstrap | None = None,
    on_done: Callable[[Verdict], None] = lambda _: None,
) -> Evaluation:
    """Judge `posts` and work out the figures; `judge` should be made of settings `with_all_views`.

    The verdicts go to `out` as JSON lines. `source` says where the posts are from, `left_out` how many rows were
    none. Raises Transient where tries did not help, and Fatal.
    """
    run = await judge_all(judge, posts, out, on_done)
    return Evaluation(run, figures_of(run, source=source, left_out=left_out, bootstrap=bootstrap))
