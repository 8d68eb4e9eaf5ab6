"""`moderation policies diff`: posts judged by two packs on one engine, each post's images loaded once."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from rich.table import Table

from moderation_service.app.compose import open_judges
from moderation_service.cli.common import print_lines, progress
from moderation_service.contracts.enums import STRONGEST_FIRST, Outcome
from moderation_service.errors import Misconfigured
from moderation_service.evaluation.pack_diff import PackDiff, PolicyChange, Said, judge_by_both
from moderation_service.policies.pack import PolicyPack, load_pack
from moderation_service.readers.input_file import root_of
from moderation_service.readers.post_files import distinct, unread
from moderation_service.settings import Settings

_FLIPS_SHOWN = 50


async def diff_packs(settings: Settings, old: Path, new: Path, posts: Path) -> tuple[PackDiff, list[str]]:
    """Judge `posts` by the packs of two folders; what would change, and a line for each row that was not judged."""
    packs = _enforcing(old), _enforcing(new)
    print_lines("not read", unread(posts))
    left_out: list[str] = []
    judging = settings.judging.model_copy(update={"explain": "never"})
    chosen = settings.with_file_root(root_of(posts)).model_copy(update={"judging": judging})
    diff = PackDiff(*packs)
    with progress(sum(1 for _ in distinct(posts, left_out))) as advance:
        async with open_judges(chosen.without_banks(), *packs) as (by_old, by_new):
            unjudged = await judge_by_both(diff, by_old, by_new, distinct(posts, []), advance)
    return diff, [*left_out, *map(str, unjudged)]


def tables(diff: PackDiff) -> Iterator[Table | str]:
    """The diff as tables and lines."""
    yield _decisions(diff)
    yield _policies(diff)
    if diff.flips:
        yield _flips(diff)
    if len(diff.flips) > _FLIPS_SHOWN:
        yield f"{len(diff.flips) - _FLIPS_SHOWN} more posts flip; --json lists all"
    yield _summary(diff)


def _decisions(diff: PackDiff) -> Table:
    table = Table("decision", "old", "new", title=f"{diff.posts} posts")
    for decision in reversed(STRONGEST_FIRST):
        table.add_row(decision, str(diff.old.decisions[decision]), str(diff.new.decisions[decision]))
    table.add_row("tokens", f"{diff.old.tokens:,}", f"{diff.new.tokens:,}")
    return table


def _policies(diff: PackDiff) -> Table:
    table = Table("policy", "change", "mode", *Outcome, "flips", "score moved at most")
    for one in diff.policies.values():
        counts = (_arrow(one, outcome) for outcome in Outcome)
        modes = _either(one.old_mode, one.new_mode)
        table.add_row(one.policy_id, one.change, modes, *counts, str(one.flips), f"{one.furthest:.3f}")
    return table


def _flips(diff: PackDiff) -> Table:
    table = Table("post", "decision", "policies", "images", "words", title="flips")
    for flip in sorted(diff.flips, key=lambda flip: (flip.old == flip.new, flip.post_id))[:_FLIPS_SHOWN]:
        policies = "\n".join(f"{one.policy_id}: {_either(_scored(one.old), _scored(one.new))}" for one in flip.policies)
        table.add_row(flip.post_id, _either(flip.old, flip.new), policies, str(flip.images), flip.text)
    return table


def _summary(diff: PackDiff) -> str:
    changes = Counter(one.change for one in diff.policies.values())
    policies = ", ".join(f"{count} {change}" for change, count in changes.items())
    flipped = diff.changed().total()
    cost = f"; {diff.new.tokens / diff.old.tokens:.2f} times the tokens" if diff.old.tokens else ""
    return f"{flipped} of {diff.posts} decisions would change; policies: {policies}{cost}"


def _arrow(one: PolicyChange, outcome: str) -> str:
    old = str(one.old[outcome]) if one.old_mode else None
    return _either(old, str(one.new[outcome]) if one.new_mode else None)


def _either(old: str | None, new: str | None) -> str:
    return str(old) if old == new else f"{old or '-'} → {new or '-'}"


def _scored(said: Said | None) -> str | None:
    return f"{said.outcome} {said.score:.2f}" if said else None


def _enforcing(path: Path) -> PolicyPack:
    pack = load_pack(path, images=False)
    if not pack.enforced:
        msg = f"{path}: no policy has mode enforce, so every post would be allowed"
        raise Misconfigured(msg)
    return pack
