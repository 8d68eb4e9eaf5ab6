"""Known content: what of a post stands in a bank, and what follows from that before a model is asked.

The strongest action counts: escalate and block, then review, then label and allow.
"""

import asyncio
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

from moderation_service.banks.matcher import BankMatcher, BankMatches
from moderation_service.contracts.bank import BankAction, BankMatch
from moderation_service.contracts.engine_input import Language
from moderation_service.contracts.enums import Decision, Mode, Route
from moderation_service.judging.evidence import Evidence
from moderation_service.judging.hma import HmaClient
from moderation_service.languages.wordings import wording_of
from moderation_service.media.loaded_image import LoadedImage
from moderation_service.telemetry import metrics

_OFF_LOOP = 4096  # characters, which take some 4 ms
_CHARACTERS_PER_HASH = 1300  # that cost as much as a hash does, among a million
_MATCHING = metrics.STAGE_SECONDS.labels("match")


class KnownContent(NamedTuple):
    """A post's matches, and what banks decide by them.

    `decision` is what the post gets at least, None where banks decide nothing. `is_final`: no model is asked.
    `banks_digest` is of the enforced banks.
    """

    matches: tuple[BankMatch, ...] = ()
    shadow_matches: tuple[BankMatch, ...] = ()
    banks_digest: str | None = None
    decision: Decision | None = None
    is_final: bool = False
    route: Route | None = None


async def match_banks(banks: BankMatcher, evidence: Evidence, hma: HmaClient | None = None) -> KnownContent:
    """Match a post's words and images; a long text, or many images, on a thread. Raises Transient while HMA is away."""
    if banks.is_empty and hma is None:
        return KnownContent()
    images = evidence.loaded.images
    hashes = sum(len(image.hashes) for image in images)
    with _MATCHING.time():
        remote = await hma.match_images(banks, images) if hma else ()
        if len(evidence.text) + _CHARACTERS_PER_HASH * hashes > _OFF_LOOP:
            return await asyncio.to_thread(find_known_content, banks, evidence, remote)
        return find_known_content(banks, evidence, remote)


async def match_image_text(banks: BankMatcher, evidence: Evidence, known: KnownContent) -> KnownContent:
    """What is known with the words in the images, once these are read."""
    if banks.is_empty or not evidence.image_text:
        return known
    with _MATCHING.time():
        found = await asyncio.to_thread(lambda: [*_of_image_text(banks, evidence.loaded.images)])
    enforced, shadow = _joined([BankMatches(known.matches, known.shadow_matches), *found])
    return KnownContent(enforced, shadow, known.banks_digest, *_ruling(enforced, is_harmless=False))


def find_known_content(banks: BankMatcher, evidence: Evidence, remote: Sequence[BankMatches] = ()) -> KnownContent:
    """What of the post is known, and what follows from it. `remote` are matches of each image elsewhere, if any."""
    digest, images = banks.digest, evidence.loaded.images
    found = [*([banks.match_text(evidence.text)] if evidence.text else ()), *_of_images(banks, images, remote)]
    enforced, shadow = _joined(found)
    harmless = {match.image for match in enforced if _is_harmless(match)}
    is_harmless = not evidence.text and bool(images) and len(harmless) == len(images)
    return KnownContent(enforced, shadow, digest, *_ruling(enforced, is_harmless=is_harmless))


def count_matches(banks: BankMatcher, known: KnownContent) -> None:
    """Count the post once for each bank that it matches."""
    for mode, matches in ((Mode.ENFORCE, known.matches), (Mode.SHADOW, known.shadow_matches)):
        labels = banks.labels if matches else {}
        for bank, action in {(match.bank, match.action) for match in matches}:
            metrics.BANK_MATCHES.labels(labels.get(bank, "other"), action, mode).inc()


def known_content_sentence(match: BankMatch, language: Language) -> str:
    """What is known of the post, in a sentence that quotes nothing; of a match with a route not even where."""
    form = wording_of(language).known_content["routed" if match.route else match.kind]
    return form.format(bank=match.bank, number=(match.image or 0) + 1)


def _of_images(
    banks: BankMatcher, images: Sequence[LoadedImage], remote: Sequence[BankMatches]
) -> Iterator[BankMatches]:
    """Each image's matches. One whose exact bytes are known to be harmless is not taken for a copy of another.

    Banks with a route match it nevertheless.
    """
    for number, image in enumerate(images):
        if image.sha256 is None:
            continue
        found = banks.match_image(image.hashes, image.sha256, image=number)
        if remote:
            found = _joined([found, remote[number]])
        if any(map(_is_harmless, found.enforced)):
            found = BankMatches(*(tuple(match for match in each if not _is_mere_likeness(match)) for each in found))
        yield found


def _of_image_text(banks: BankMatcher, images: Sequence[LoadedImage]) -> Iterator[BankMatches]:
    """Matches of the words in each image: `spans` are in these words."""
    for number, image in enumerate(images):
        found = banks.match_text(image.text) if image.text else BankMatches()
        yield BankMatches(*(tuple(match.model_copy(update={"image": number}) for match in each) for each in found))


def _joined(found: Sequence[BankMatches]) -> BankMatches:
    enforced = tuple(chain.from_iterable(each.enforced for each in found))
    return BankMatches(enforced, tuple(chain.from_iterable(each.shadow for each in found)))


def _is_harmless(match: BankMatch) -> bool:
    """Whether the match says that an image is harmless. A near copy may carry other words."""
    return match.action is BankAction.ALLOW and match.kind == "image_sha256"


def _is_mere_likeness(match: BankMatch) -> bool:
    return match.kind == "image_pdq" and match.action is not BankAction.ALLOW and match.route is None


def _ruling(matches: Sequence[BankMatch], *, is_harmless: bool) -> tuple[Decision | None, bool, Route | None]:
    """Decision, whether it is final, and route: no model sees what has one."""
    decisions = [match.action.decision for match in matches]
    decision = next((each for each in (Decision.BLOCK, Decision.REVIEW) if each in decisions), None)
    if route := next((match.route for match in matches if match.route), None):
        return decision or Decision.REVIEW, True, route
    if decision is None and is_harmless:
        return Decision.ALLOW, True, None
    return decision, decision is Decision.BLOCK, None
