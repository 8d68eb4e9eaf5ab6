"""Explanation of a flagged post: by the model where it can write, else by template. It can't change a decision.

Generated text is cut to two whole sentences and masked. The template says what was measured, one sentence a policy.
"""

import asyncio
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice, pairwise
from typing import NamedTuple

import structlog

from moderation_service.contracts.bank import BankMatch
from moderation_service.contracts.engine_input import Language
from moderation_service.contracts.enums import AbstainReason, ExplanationKind
from moderation_service.contracts.verdict import PolicyVerdict
from moderation_service.engine.base import ExplainRequest
from moderation_service.judging.batcher import Batcher
from moderation_service.judging.decision import gravest_first
from moderation_service.judging.evidence import Evidence
from moderation_service.judging.known_content import known_content_sentence
from moderation_service.judging.statement import place_in_words
from moderation_service.languages.detection import is_written_in
from moderation_service.languages.wordings import wording_of
from moderation_service.normalization import nfkc
from moderation_service.policies.model import Policy
from moderation_service.settings import Settings
from moderation_service.telemetry import metrics
from moderation_service.telemetry.redaction import redacted

MAX_CHARACTERS = 400
MASK = "[…]"

_READ = 4 * MAX_CHARACTERS
_POST_READ = 2**18
"""Characters of the post that are looked at for quotations: more than a model is shown."""
_LEAST = 8
"""Fewer characters are an answer, such as `yes`, and no explanation."""
_MAX_SENTENCES = 2

_MARKUP = re.compile(r"^[^\S\n]*+(?:[-•]\s+|\d+[.)、]\s*)|[*`#]", re.MULTILINE)
_END = re.compile(r"(?:[。！？]+|(?<![.!?])[.!?]++(?=[”’\")]?(?:\s+[^a-z\s]|\s*$)))[”’\")）]?")
_LOOP = re.compile(r"(.{2,40}?)\1{3}|(.)\2{7}")
_CONTACT = re.compile(
    r"(?:https?://|www\.)[^\s，。]+"  # a link
    r"|(?<![a-z0-9._%+-])[a-z0-9._%+-]++[@＠][a-z0-9.-]+"  # an e-mail address
    r"|[@＠]\w+"  # an account
    r"|(?<![a-z0-9-])(?:[a-z0-9-]{1,63}\.){1,9}[a-z]{2,}(?:/[^\s，。]*)?"  # a link without its scheme
    r"|\+?\d(?:[\W_]{0,2}\d){4,}",  # a telephone, card or identity number
    re.IGNORECASE,
)
_NUMBER = re.compile(r"\d+")
MAX_FINDINGS = 3
"""The gravest violated policies, which the prompt lists."""
MAX_FINDING = 400  # characters: a title may be long
log = structlog.get_logger(__name__)


class UnusableExplanation(Exception):  # noqa: N818 - no failure: the template replaces it
    """Generated text that can't be published. `reason` is a bounded label for metrics."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def sanitize_explanation(written: str, post_text: str, language: Language) -> str:
    """The part of generated text that may be published. Raises UnusableExplanation if none may."""
    said, post_text = _plain(written), post_text[:_POST_READ]
    if len(said) < _LEAST:
        raise UnusableExplanation("empty")
    if _LOOP.search(said):
        raise UnusableExplanation("looping")
    ends = [0, *(end.end() for end in islice(_END.finditer(said), _MAX_SENTENCES))]
    sentences = [said[begin:end].strip() for begin, end in pairwise(ends)]
    if not sentences:
        raise UnusableExplanation("unfinished")
    if len(set(sentences)) < len(sentences):
        raise UnusableExplanation("looping")
    wording = wording_of(language)
    if not is_written_in("".join(sentences), wording.language):  # the language that was asked for
        raise UnusableExplanation("wrong_language")
    if _quotes("".join(sentences), post_text, wording.explanation.quotation):
        raise UnusableExplanation("quotes_post")
    between = wording.between_sentences
    for count in range(len(sentences), 0, -1):
        text = _masked(between.join(sentences[:count]), post_text)
        if len(text) <= MAX_CHARACTERS:
            return text
    raise UnusableExplanation("too_long")


def _plain(text: str) -> str:
    """One line without mark-up, control and format characters (bidirectional marks among them)."""
    lines = _MARKUP.sub("", text[:_READ])
    kept = "".join(" " if c.isspace() else c for c in lines if c.isspace() or unicodedata.category(c)[0] != "C")
    return " ".join(kept.replace("\N{REPLACEMENT CHARACTER}", "").split())


def _quotes(text: str, post_text: str, run: int) -> bool:
    """Whether the text quotes the post. Linear in the post's length."""
    ours, theirs = _letters(text), _letters(post_text)
    said = {ours[at : at + run] for at in range(len(ours) - run + 1)}
    return any(theirs[at : at + run] in said for at in range(len(theirs) - run + 1))


def _letters(text: str) -> str:
    return "".join(c for c in nfkc(text, _POST_READ).casefold() if c.isalnum())


def _masked(text: str, post_text: str) -> str:
    """Masks contact data, and every number that the post has."""
    known = {nfkc(number, _POST_READ) for number in _NUMBER.findall(post_text)}
    text = _CONTACT.sub(MASK, redacted(text, MASK))
    return _NUMBER.sub(lambda n: MASK if nfkc(n.group(), _POST_READ) in known else n.group(), text)


def template_explanation(
    policies: Iterable[PolicyVerdict], titles: Mapping[str, str], language: Language
) -> str | None:
    """Name each policy that flags, where the violation lies, and the scores that show it; None if none flags.

    `titles` are the policies' titles by id, in `language`.
    """
    wording = wording_of(language)
    sentences = (
        wording.explanation.policy.format(title=titles[policy.policy_id], measured=scores_in_words(policy, language))
        for policy in policies
        if policy.outcome.is_flagged
    )
    return wording.between_sentences.join(sentences) or None


def abstention_sentence(reason: AbstainReason, language: Language) -> str:
    """Why an `allow` would be a guess, in a sentence."""
    return wording_of(language).explanation.abstentions[reason]


def scores_in_words(policy: PolicyVerdict, language: Language) -> str:
    """Where the violation of a violated policy lies, with the scores that show it; else its score alone."""
    wording = wording_of(language).explanation
    attribution = policy.attribution
    if attribution is None:
        return wording.score.format(score=policy.score)
    named = (
        (wording.joint, attribution.joint),
        (wording.text_only, attribution.text_only),
        (wording.image_only, attribution.image_only),
    )
    scores = wording.between_scores.join(f"{name} {value:.2f}" for name, value in named if value is not None)
    return wording.place.format(place=place_in_words(policy, language), scores=scores)


class Explanation(NamedTuple):
    """A verdict's explanation and its kind; both None where there is nothing to explain.

    Not cacheable where the template replaces text that the model may generate the next time.
    """

    text: str | None
    kind: ExplanationKind | None
    is_cacheable: bool = True


class Explainer:
    """Explains flagged posts. Generated text that fails or is unusable is replaced by the template, and counted."""

    def __init__(self, settings: Settings, batcher: Batcher) -> None:
        self._mode = settings.explanations
        self._within_s = settings.judging.explain_timeout_s
        self._batcher = batcher

    async def explain(
        self,
        policies: Sequence[PolicyVerdict],
        reason: AbstainReason | None,
        by_id: Mapping[str, Policy],
        evidence: Evidence,
        language: Language,
        match: BankMatch | None = None,
    ) -> Explanation:
        """Explain the violated policies (`by_id` has their words), else the abstention (`reason`). Never raises.

        Where a bank decided, its `match` is what there is to explain.
        """
        violated = gravest_first(policies)
        if self._mode == "never" or not (violated or reason or match):
            return Explanation(None, None)
        outcome = "template"
        if match:
            metrics.EXPLANATIONS.labels(outcome).inc()
            return Explanation(known_content_sentence(match, language), ExplanationKind.TEMPLATE)
        if violated and self._mode == "generate":
            try:
                findings = tuple(_finding(policy, by_id, language) for policy in violated[:MAX_FINDINGS])
                text = await self._write(findings, evidence, language)
            except UnusableExplanation as unusable:
                outcome = unusable.reason
                log.info("generated explanation unusable", reason=outcome)
            except Exception as error:  # noqa: BLE001 - whatever fails here, the post is judged
                outcome = "failed"
                log.warning("explanation failed", error=type(error).__name__)
            else:
                metrics.EXPLANATIONS.labels("generated").inc()
                return Explanation(text, ExplanationKind.GENERATED)
        metrics.EXPLANATIONS.labels(outcome).inc()
        is_cacheable = outcome not in {"busy", "failed", "timeout"}
        titles = {policy_id: policy.title.in_language(language) for policy_id, policy in by_id.items()}
        said = template_explanation(policies, titles, language) or (reason and abstention_sentence(reason, language))
        return Explanation(said, ExplanationKind.TEMPLATE, is_cacheable=is_cacheable)

    async def _write(self, findings: tuple[str, ...], evidence: Evidence, language: Language) -> str:
        """Generated text, sanitized. Raises UnusableExplanation, or what the engine raised."""
        if self._batcher.is_busy:
            raise UnusableExplanation("busy")
        request = ExplainRequest(evidence.words, evidence.images, language, findings, self._within_s)
        try:
            async with asyncio.timeout(self._within_s):
                written = await self._batcher.explain(request, evidence.fairness_key)
        except TimeoutError:
            raise UnusableExplanation("timeout") from None
        if written.finish_reason == "time":
            # How far it came depends on load: it could not be reproduced.
            raise UnusableExplanation("timeout")
        # On a thread: a post of megabytes takes seconds to compare with.
        return await asyncio.to_thread(sanitize_explanation, written.text, evidence.words, language)


def _finding(policy: PolicyVerdict, by_id: Mapping[str, Policy], language: Language) -> str:
    own = by_id[policy.policy_id]
    said = (own.title.in_language(language), own.question.in_language(language), place_in_words(policy, language))
    return "; ".join(filter(None, said))[:MAX_FINDING]
