"""The legal hold of a process that judges, and what must be set before anything with a route is judged."""

from collections.abc import Iterable

from moderation_service.banks.loaded_bank import LoadedBank
from moderation_service.child_safety.legal_hold import LegalHold
from moderation_service.errors import Misconfigured
from moderation_service.policies.pack import PolicyPack
from moderation_service.settings import Settings


def open_hold(settings: Settings) -> LegalHold | None:
    """The legal hold of the settings; None where none is set. Raises Misconfigured."""
    return LegalHold(settings.child_safety) if settings.child_safety.hold_path else None


def check_routes(settings: Settings, pack: PolicyPack, banks: Iterable[LoadedBank] = ()) -> None:
    """Raise Misconfigured where an enforced policy or a bank has a route, and there is no legal hold."""
    routed = [f"policy {policy.id}" for policy in pack.enforced if policy.route]
    routed += [f"bank {loaded.bank.name}" for loaded in banks if loaded.bank.route]
    if routed and settings.child_safety.hold_path is None:
        msg = f"child_safety.hold_path: is not set, and {', '.join(routed)} has a route; name the legal hold's folder"
        raise Misconfigured(msg)


def check_engine_is_trusted(settings: Settings, packs: Iterable[PolicyPack]) -> None:
    """Raise Misconfigured where a policy has a route, and posts would be judged by a server that may not be ours."""
    routed = sorted({policy.id for pack in packs for policy in pack.policies if policy.route})
    if routed and settings.engine.kind == "openai" and not settings.engine.trusted:
        msg = (
            f"engine.trusted: is false, and {', '.join(routed)} has a route; set it if the server at engine.base_url is"
            " yours alone, or use engine.kind local"
        )
        raise Misconfigured(msg)
    if routed and settings.engine.shadow_base_url:
        msg = (
            f"engine.shadow_base_url: is set, and {', '.join(routed)} has a route; such posts may go to no"
            " second server: unset it, or use engine.shadow_adapter"
        )
        raise Misconfigured(msg)
