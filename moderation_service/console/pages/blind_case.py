"""A post in front of a person who is told nothing of what was found in it."""

from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.requests import Request

from moderation_service.console.context import context_of
from moderation_service.console.pages.case import CaseImage, address_seal, has_restricted, images_of
from moderation_service.console.pages.words import MAX_SHOWN, Parts, redacted_all, redacted_id
from moderation_service.console.store import audits, posts, verdicts
from moderation_service.console.store.queue import Job
from moderation_service.contracts.enums import AuditRound
from moderation_service.contracts.verdict import Verdict


@dataclass(frozen=True, slots=True)
class BlindCase:
    """What the templates show, and nothing that follows from the verdict's scores, decision or matches.

    `policies` are asked about, in the pack's order; `said` by policy what two people answered, where a third settles.
    All but `policies` and `said` as in a ReviewCase.
    """

    job: Job
    words: Parts
    cut: int
    author: Parts
    surface: Parts
    images: tuple[CaseImage, ...]
    is_kept: bool
    is_locked: bool
    policies: tuple[str, ...]
    said: dict[str, list[bool]]


async def blind_case(request: Request, job: Job, *, confirmed: bool = False) -> BlindCase:
    """The case of an audit's job. Addresses of images are given to who `confirmed`, if any policy is restricted."""
    context = context_of(request)
    stored = await verdicts.by_id(context.database, job.verdict_id)
    if stored is None:
        raise HTTPException(404, "no such verdict")
    verdict = stored.verdict
    shown = await posts.shown(context.database, verdict.post_id, verdict.post_revision)
    text = shown.text if shown else ""
    settles = job.audit is AuditRound.ADJUDICATION
    words, surface = await redacted_all(text, verdict.surface or "")
    return BlindCase(
        job=job,
        words=words,
        cut=max(len(text) - MAX_SHOWN, 0),
        author=await redacted_id(verdict.author_id or ""),
        surface=surface,
        images=images_of(verdict, shown, address_seal(request, verdict.verdict_id) if confirmed else ""),
        is_kept=shown is not None,
        is_locked=has_restricted(context.pack) and not confirmed,
        policies=policies_asked(request, verdict),
        said=await audits.answers_to_settle(context.database, job.verdict_id) if settles else {},
    )


def policies_asked(request: Request, verdict: Verdict) -> tuple[str, ...]:
    """The enforced policies that apply to such a post, whatever of them was judged."""
    has_text, has_images = verdict.content.text_sha256 is not None, bool(verdict.content.images)
    enforced = context_of(request).pack.enforced
    return tuple(one.id for one in enforced if one.applies_to(has_text, has_images, verdict.surface))
