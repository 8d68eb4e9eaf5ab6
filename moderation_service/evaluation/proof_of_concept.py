"""The result of a proof of concept on one A4 page, for those who decide about it."""

from collections.abc import Mapping, Sequence
from html import escape

from jinja2 import Environment, PackageLoader

from moderation_service.evaluation.go_no_go import Assessment, GoNoGo, in_percent
from moderation_service.evaluation.interval_estimate import IntervalEstimate
from moderation_service.evaluation.run import JudgedPost

HEADLINES = {
    GoNoGo.GO: "Go",
    GoNoGo.TOO_FEW_LABELS: "Too few labels to say",
    GoNoGo.NO_GO: "No go",
}
WAYS = {"joint": "This service", "either": "A text filter beside an image filter"}
"""What is compared on violations, by the names of SCORES."""


class HtmlPage(str):
    """A page that a notebook shows in a frame of its own, so that its styles stay in it."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        return f'<iframe srcdoc="{escape(self)}" style="width: 100%; height: 72rem; border: 0"></iframe>'


def render_page(
    assessment: Assessment, judged: Sequence[JudgedPost], titles: Mapping[str, str], *, source: str, left_out: int = 0
) -> HtmlPage:
    """The page; `titles` by policy id, `left_out` counts the rows that were left out or could not be judged."""
    environment = Environment(loader=PackageLoader("moderation_service.evaluation", "templates"), autoescape=True)
    environment.filters["estimate"] = lambda counted: in_percent(IntervalEstimate(counted.share, *counted.interval))
    verdict = judged[-1].verdict
    return HtmlPage(
        environment.get_template("proof_of_concept.html").render(
            assessment=assessment,
            headline=HEADLINES[assessment.result],
            passed=sum(one.result is GoNoGo.GO for one in assessment.policies),
            posts=len(judged),
            left_out=left_out,
            model=verdict.model,
            policy_set=verdict.policy_set_digest,
            judged_on=max(one.verdict.judged_at for one in judged).date(),
            source=source,
            titles=titles,
            ways=WAYS,
        )
    )
