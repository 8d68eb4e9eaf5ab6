"""What `demo` shows: a table on the terminal, and one self-contained HTML page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from moderation_service.contracts.bank import BankMatch
from moderation_service.contracts.enums import STRONGEST_FIRST, AttributionClass, Colour, DecidedBy, Outcome
from moderation_service.contracts.post import Post
from moderation_service.contracts.verdict import PolicyVerdict, Verdict
from moderation_service.judging.decision import gravest_match

_STYLES: dict[Colour, str] = {"red": "bold red", "amber": "yellow", "violet": "magenta", "green": "green"}
_BARS = (("both together", "joint"), ("words alone", "text_only"), ("image alone", "image_only"))


@dataclass(frozen=True, slots=True)
class ReportRow:
    """A post beside its verdict, and its strongest policy."""

    post: Post
    verdict: Verdict

    @property
    def strongest(self) -> PolicyVerdict | None:
        """The violated policy with the highest score, if any."""
        violated = [policy for policy in self.verdict.policies if policy.violated]
        return max(violated, key=lambda policy: (policy.outcome is Outcome.BLOCK, policy.score), default=None)

    @property
    def match(self) -> BankMatch | None:
        """The match that decided, where a bank did."""
        return gravest_match(self.verdict.matches) if self.verdict.decided_by is DecidedBy.BANK else None

    @property
    def bars(self) -> list[tuple[str, float]]:
        """The strongest policy's measured views: name and score."""
        strongest = self.strongest
        if strongest is None or strongest.attribution is None:
            return []
        scores = ((name, getattr(strongest.attribution, view)) for name, view in _BARS)
        return [(name, score) for name, score in scores if score is not None]

    @property
    def words(self) -> str:
        """The post's words, or that there are some in its image: what these are stands in no verdict."""
        in_image = any(image.text_sha256 for image in self.verdict.content.images)
        return self.post.text or ("(words in the image)" if in_image else "")

    @property
    def images(self) -> list[str]:
        """The post's images as addresses that need no network."""
        return [f"data:{image.media_type};base64,{image.data}" for image in self.post.images if image.data]


@dataclass(frozen=True, slots=True)
class Report:
    """All posts of one run; `titles` by policy id, `how` says what judged them and how they were delivered."""

    shown: Sequence[ReportRow]
    titles: Mapping[str, str]
    how: str

    def table(self) -> Table:
        """One row a post."""
        made = Table(title="Verdicts", box=SIMPLE_HEAD, expand=True)
        made.add_column("post's words", ratio=3, no_wrap=True)
        for name in ("images", "decision"):
            made.add_column(name, no_wrap=True)
        made.add_column("policy or bank", ratio=2, no_wrap=True)
        for name in ("where", "both", "words", "image"):
            made.add_column(name, no_wrap=True)
        for one in self.shown:
            strongest, bars = one.strongest, dict(one.bars)
            where = strongest.attribution.class_ if strongest and strongest.attribution else ""
            decision = one.verdict.decision
            made.add_row(
                Text(one.words) if one.words else Text("none", style="dim"),
                str(len(one.post.images)),
                Text(decision, style=_STYLES[decision.colour]),
                self._why(one),
                Text(where, style="bold" if where == AttributionClass.COMBINED else ""),
                *(f"{bars[name]:.2f}" if name in bars else "" for name, _ in _BARS),
            )
        return made

    def _why(self, one: ReportRow) -> str:
        if one.match:
            return f"bank {one.match.bank}"
        return self.titles[one.strongest.policy_id] if one.strongest else one.verdict.abstain_reason or ""

    def page(self) -> str:
        """One HTML page without outside requests."""
        environment = Environment(loader=PackageLoader("moderation_service.demo", "templates"), autoescape=True)
        counts = {each: sum(one.verdict.decision is each for one in self.shown) for each in STRONGEST_FIRST}
        template = environment.get_template("report.html")
        return template.render(shown=self.shown, titles=self.titles, how=self.how, counts=counts)
