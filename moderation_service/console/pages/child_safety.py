"""Child safety: a queue of its own. Posts are not kept here: images come from the legal hold, each look audited."""

import asyncio
from datetime import UTC, datetime
from io import BytesIO

import structlog
from PIL import Image, ImageFilter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from moderation_service.child_safety.hold_access import HoldAccess
from moderation_service.child_safety.sealed_file import HoldError
from moderation_service.console.accounts.guard import is_sealed, seal
from moderation_service.console.catalogues import MsgId
from moderation_service.console.context import context_of
from moderation_service.console.pages.case import position_asked
from moderation_service.console.pages.render import page, translated
from moderation_service.console.store import outbox, reviews, routed
from moderation_service.console.store.reviews import Decided
from moderation_service.console.store.routed import RoutedCase
from moderation_service.contracts.enums import ReviewDecision
from moderation_service.contracts.review import PolicyReview
from moderation_service.media.decode import decode
from moderation_service.settings import MediaSettings
from moderation_service.telemetry import audit
from moderation_service.telemetry.audit import AuditEntry

_LISTED = 100
_SIDE = 192  # pixels of an image's longer side
_BLUR = 3  # pixels
_REASON = "review in the console"
_NO_HOLD = MsgId("This console has no legal hold: set child_safety.hold_path.")
_NOT_HELD = MsgId("The legal hold does not have this case, or it cannot be opened.")
_MAX_REPORT_ID = 256
_ID_WANTED = MsgId("Give the id of the report, of at most 256 characters.")

log = structlog.get_logger(__name__)


async def show(request: Request) -> Response:
    """The cases: those that wait, and those that were decided last."""
    database = context_of(request).database
    return page(
        request,
        "child_safety.html",
        waiting=await routed.listed(database, decided=False, limit=_LISTED),
        decided=await routed.listed(database, decided=True, limit=_LISTED),
    )


async def show_one(request: Request) -> Response:
    """One case."""
    return await _page(request, await _case(request))


async def show_images(request: Request) -> Response:
    """One case with its images, asked for a second time."""
    return await _page(request, await _case(request), images=True)


async def image(request: Request) -> Response:
    """A held image: small, grey and blurred, opened in memory, for who asked for it a second time."""
    case, position = await _case(request), position_asked(request)
    if not is_sealed(request, _sealed_name(case)):
        raise HTTPException(403, "this picture is hidden")
    if (access := _access(request)) is None or position is None:
        raise HTTPException(404, "no such picture")
    try:
        data = (await access.read(case.verdict.verdict_id, _REASON)).get(f"image-{position}")
    except (HoldError, OSError) as error:
        log.warning("a held case could not be opened", case_id=case.verdict.verdict_id, error=type(error).__name__)
        data = None
    muted = data and await asyncio.to_thread(_muted, data, context_of(request).settings.media)
    if not muted:
        raise HTTPException(404, "no such picture")
    return Response(muted, media_type="image/webp", headers={"Cache-Control": "no-store"})


async def decide(request: Request) -> Response:
    """Confirm a match (block), or call it false (allow): a review as any other. The hold stays until its last day."""
    case, decision = await _case(request), (await request.form()).get("decision")
    if decision not in tuple(ReviewDecision):
        raise HTTPException(400, "decision: should be allow or block")
    blocked = decision == ReviewDecision.BLOCK
    said = tuple(
        PolicyReview(policy_id=part.policy_id, violated=blocked)
        for part in case.verdict.policies
        if part.outcome.is_flagged
    )
    decided = Decided(ReviewDecision(str(decision)), said, further=True)
    user = request.state.session.user
    await reviews.decide(context_of(request), user, case.verdict.verdict_id, decided, routed=True)
    return RedirectResponse("/child-safety", status_code=303)


async def report(request: Request) -> Response:
    """Note the id of the report that was made of a case, from which day on the law wants it kept."""
    case = await _case(request)
    report_id = str((await request.form()).get("report_id", "")).strip()
    if not 0 < len(report_id) <= _MAX_REPORT_ID:
        return await _page(request, case, wrong=_ID_WANTED, status=422)
    if (access := _access(request)) is None:
        return await _page(request, case, wrong=_NO_HOLD, status=422)
    try:
        now = datetime.now(UTC)
        await access.extend(case.verdict.verdict_id, "reported", reported_at=now, report_id=report_id)
    except (HoldError, OSError):
        return await _page(request, case, wrong=_NOT_HELD, status=422)
    return RedirectResponse(request.url.path.removesuffix("/report"), status_code=303)


async def _case(request: Request) -> RoutedCase:
    case = await routed.by_id(context_of(request).database, request.path_params["verdict_id"])
    if case is None:
        raise HTTPException(404, "no such case")
    return case


def _access(request: Request) -> HoldAccess | None:
    """This person's access to the legal hold; each entry is in the outbox before anything is opened."""
    context = context_of(request)

    async def emit(entry: AuditEntry) -> None:
        async with context.transaction() as connection:
            await outbox.put(connection, outbox.audited(context.settings.kafka, entry))

    actor = audit.reviewer(request.state.session.user)
    return HoldAccess(context.legal_hold, actor, emit) if context.legal_hold else None


async def _page(
    request: Request, case: RoutedCase, *, images: bool = False, wrong: MsgId | None = None, status: int = 200
) -> Response:
    held = None
    if (access := _access(request)) is None:
        missing = _NO_HOLD
    else:
        missing = _NOT_HELD
        try:
            held = await access.case(case.verdict.verdict_id, _REASON)
        except (HoldError, OSError) as error:
            log.warning("a held case could not be opened", case_id=case.verdict.verdict_id, error=type(error).__name__)
    return page(
        request,
        "child_safety_case.html",
        status=status,
        case=case,
        held=held,
        missing=translated(request, missing),
        positions=[part.image for part in held.parts if part.image is not None] if held else [],
        asked="pictures" in request.query_params,
        seal=seal(request, _sealed_name(case)) if images else None,
        wrong=translated(request, wrong) if wrong else None,
    )


def _sealed_name(case: RoutedCase) -> str:
    return f"held pictures of {case.verdict.verdict_id}"


def _muted(data: bytes, settings: MediaSettings) -> bytes | None:
    """The first frame as a small grey WebP file, by the same bounds as for judging; None if it can't be decoded.

    Blocks.
    """
    if len(data) > settings.max_bytes:
        return None
    frames = decode(data, settings.model_copy(update={"max_side": _SIDE})).frames
    if not frames:
        return None
    out = BytesIO()
    Image.fromarray(frames[0]).convert("L").filter(ImageFilter.GaussianBlur(_BLUR)).save(out, "WEBP", quality=50)
    return out.getvalue()
