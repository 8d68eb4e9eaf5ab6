"""A post in front of a person: what was found in it, and as much of it as they may see."""

import re
from dataclasses import dataclass, replace
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from moderation_service.console.accounts.guard import is_sealed, seal
from moderation_service.console.context import context_of
from moderation_service.console.pages.words import MAX_SHOWN, Parts, redacted_all, redacted_id
from moderation_service.console.store import audits, posts, verdicts
from moderation_service.console.store.posts import ShownPost
from moderation_service.contracts.bank import BankMatch
from moderation_service.contracts.enums import Decision, ImageStatus
from moderation_service.contracts.verdict import PolicyVerdict, Verdict
from moderation_service.judging.decision import gravest_first
from moderation_service.policies.pack import PolicyPack

_POSITION = re.compile("[0-9]{1,4}")  # int() refuses thousands of digits
_QUOTED = 200  # characters of the words that stand in a bank


@dataclass(frozen=True, slots=True)
class CaseImage:
    """An image of a post; `address` where it can be shown, else `status` says why not (None: it is another image now).

    An image fetched anew may be another than was judged: it is shown only where the digests are the same, or where none
    was judged, and `judged` says which.
    """

    status: ImageStatus | None
    width: int | None
    height: int | None
    address: str | None
    judged: bool


@dataclass(frozen=True, slots=True)
class ReviewCase:
    """What the templates show. `asked` and `confirmed`: how often a person asked for restricted images.

    `words`, `author` and `surface` are redacted; `cut` characters behind the words are not shown. `quotes` are the
    post's words that stand in a bank, in the order of the verdict's matches and then its shadow matches; redacted too.
    """

    verdict: Verdict
    shown: ShownPost | None
    flagged: tuple[PolicyVerdict, ...]  # gravest first
    rest: tuple[PolicyVerdict, ...]  # highest score first
    restricted: bool
    words: Parts = ()
    cut: int = 0
    author: Parts = ()
    surface: Parts = ()
    quotes: tuple[Parts, ...] = ()
    images: tuple[CaseImage, ...] = ()
    asked: bool = False
    confirmed: bool = False

    @property
    def asked_policies(self) -> tuple[PolicyVerdict, ...]:
        """All of them, what was found first."""
        return self.flagged + self.rest


async def case_of(request: Request, verdict: Verdict, *, asked: bool = False, confirmed: bool = False) -> ReviewCase:
    """The case of a stored verdict. The addresses of restricted images are given to who `confirmed`."""
    shown = await posts.shown(context_of(request).database, verdict.post_id, verdict.post_revision)
    text = shown.text if shown else ""
    matched = [_quoted(text, match) for match in verdict.matches + verdict.shadow_matches]
    words, surface, *quotes = await redacted_all(text, verdict.surface or "", *matched)
    found = found_in(verdict, context_of(request).pack)
    return replace(
        found,
        shown=shown,
        words=words,
        cut=max(len(text) - MAX_SHOWN, 0),
        author=await redacted_id(verdict.author_id or ""),
        surface=surface,
        quotes=tuple(quotes),
        images=images_of(verdict, shown, address_seal(request, verdict.verdict_id) if confirmed else ""),
        asked=asked,
        confirmed=confirmed,
    )


def images_of(verdict: Verdict, shown: ShownPost | None, under: str) -> tuple[CaseImage, ...]:
    """The images of a verdict's post; `under` is the seal of restricted ones."""
    images = []
    for at, content in enumerate(verdict.content.images):
        thumbnail = next((one for one in shown.thumbnails if one.position == at), None) if shown else None
        known = thumbnail and thumbnail.width
        changed = thumbnail and known and content.sha256 not in (None, thumbnail.sha256)
        address = f"/pictures/{at}?verdict={quote(verdict.verdict_id, safe='')}{under}"
        images.append(
            CaseImage(
                status=None if changed else ImageStatus((thumbnail or content).status),
                width=thumbnail.width if thumbnail else None,
                height=thumbnail.height if thumbnail else None,
                address=address if known and not changed else None,
                judged=content.sha256 is not None,
            )
        )
    return tuple(images)


def address_seal(request: Request, verdict_id: str) -> str:
    """What opens the addresses of restricted images, as the end of an address."""
    return f"&seal={seal(request, _sealed_name(verdict_id))}"


def found_in(verdict: Verdict, pack: PolicyPack) -> ReviewCase:
    """The case of a verdict whose post is not kept."""
    flagged = tuple(gravest_first(verdict.policies))
    rest = sorted((part for part in verdict.policies if not part.outcome.is_flagged), key=lambda part: -part.score)
    quotes: tuple[Parts, ...] = ((),) * len(verdict.matches + verdict.shadow_matches)
    return ReviewCase(verdict, None, flagged, tuple(rest), _is_restricted(verdict, pack), quotes=quotes)


async def image(request: Request) -> Response:
    """A thumbnail of a verdict's post; of a restricted one only under the seal that a second asking gave."""
    database = context_of(request).database
    verdict_id = request.query_params.get("verdict", "")
    stored = await verdicts.by_id(database, verdict_id)
    if stored is None:
        raise HTTPException(404, "no such picture")
    pack = context_of(request).pack
    is_blind = await audits.hides(database, verdict_id)
    is_restricted = has_restricted(pack) if is_blind else _is_restricted(stored.verdict, pack)
    if is_restricted and not is_sealed(request, _sealed_name(verdict_id)):
        raise HTTPException(403, "this picture is restricted")
    verdict, position = stored.verdict, position_asked(request)
    if position is None or position >= len(verdict.content.images):
        raise HTTPException(404, "no such picture")
    sha256 = verdict.content.images[position].sha256
    found = await posts.thumbnail(database, verdict.post_id, verdict.post_revision, position, sha256)
    if found is None:
        raise HTTPException(404, "no such picture")
    return Response(found, media_type="image/webp", headers={"Content-Disposition": "inline"})


def position_asked(request: Request) -> int | None:
    """The number of an image, counted from 0, in the address; None where it is none."""
    given = request.path_params["position"]
    return int(given) if _POSITION.fullmatch(given) else None


def _quoted(text: str, match: BankMatch) -> str:
    """The words of a match; none where it is of an image."""
    spans = match.spans if match.image is None else ()
    return " … ".join(dict.fromkeys(text[start:end] for start, end in spans))[:_QUOTED]


def _is_restricted(verdict: Verdict, pack: PolicyPack) -> bool:
    """Whether a restricted policy is violated, or may be: where the verdict can't tell, each that was asked.

    A policy that the pack has no longer may have been one.
    """
    open_to_all = {policy.id for policy in pack.policies if not policy.restricted}
    known = {policy.id for policy in pack.policies}
    asked = [*verdict.policies, *(part for part in verdict.shadow if part.policy_id in known)]
    if verdict.decision is Decision.ABSTAIN:
        return any(part.policy_id not in open_to_all and part.policy_id in known for part in asked)
    found = {part.policy_id for part in asked if part.outcome.is_flagged}
    return not open_to_all >= found | {match.policy for match in verdict.matches if match.policy}


def has_restricted(pack: PolicyPack) -> bool:
    """Whether any post may violate a restricted policy: all are treated so where nothing of what was found is told."""
    return any(policy.restricted for policy in pack.enforced)


def _sealed_name(verdict_id: str) -> str:
    return f"pictures of {verdict_id}"
