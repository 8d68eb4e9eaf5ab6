"""`moderation golden`: labelled sets that a change is tried on before it judges posts."""

import asyncio
import json
import math
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.table import Table

from moderation_service.app.compose import open_judge
from moderation_service.cli.common import PROBLEMS, SettingsFile, load, print_lines, progress, show
from moderation_service.cli.evaluation import LabelFormat
from moderation_service.errors import Misconfigured
from moderation_service.evaluation.golden_gate import GateReport, PolicyGate, compare, outcome
from moderation_service.evaluation.golden_set import ROUTED, Baseline, GoldenSet, JudgedBy, carried
from moderation_service.evaluation.label_sources import BUNDLED, BundledPosts, LabelSource, labelled_posts
from moderation_service.evaluation.labelled import Labelled, digest
from moderation_service.evaluation.run import judge_all
from moderation_service.policies.gate import GatePass, record_pass
from moderation_service.policies.pack import load_pack
from moderation_service.readers.rows import BadPost
from moderation_service.settings import Settings

_FLIPS_SHOWN = 50

golden = App(name="golden", help="Golden sets: labelled posts that a change is tried on before it judges.")


@golden.command(name="list")
def list_sets(*, settings: SettingsFile = None) -> int:
    """Print the golden sets of `golden.path`, with how many violations of each policy they hold.

    Example: `MODERATION_GOLDEN__PATH=golden moderation golden list`
    """
    table = Table("set", "posts", "violations", "baseline")
    for one in GoldenSet.every(load(settings).golden):
        posts = one.load()
        policies = sorted({policy for post in posts for policy in post.labels})
        counts = ", ".join(f"{policy} {sum(post.labels.get(policy, False) for post in posts)}" for policy in policies)
        table.add_row(one.name, str(len(posts)), counts, _baseline_state(one, posts))
    show(table)
    return 0


@golden.command
def add(  # noqa: PLR0913 - options of a command
    name: str,
    labelled: str,
    /,
    *,
    posts: Annotated[Path | None, Parameter(help="The posts that the reviews are of.")] = None,
    audits: Annotated[bool, Parameter(negative="", help="Only labels from blind audits.")] = False,
    policy: Annotated[str | None, Parameter(help="The policy of a single label column.")] = None,
    form: LabelFormat = None,
    settings: SettingsFile = None,
) -> int:
    """Add labelled posts to a set, with their images; a post that is there already gets its new labels.

    Reads labels as `evaluate` does. Posts with a route are left out, and so are those whose images can't be loaded.
    Exits 1 if rows were left out.

    Example: `moderation golden add release reviews.jsonl --posts posts.jsonl`
    """
    loaded = load(settings)
    chosen = GoldenSet.named(loaded.golden, name)
    named = LabelSource(labelled, policy, form, posts, is_audited=audits)
    return PROBLEMS if asyncio.run(add_posts(loaded, chosen, named)) else 0


async def add_posts(settings: Settings, chosen: GoldenSet, named: LabelSource) -> int:
    """Add what is named to the set; how many rows were left out, each named on standard error."""
    if named.given == BUNDLED:
        msg = f"{BUNDLED}: name a file; the bundled set is there always: `moderation evaluate {BUNDLED}`"
        raise Misconfigured(msg)
    pack = load_pack(settings.policies.path, images=False)
    given = await labelled_posts(settings, pack, named, BundledPosts("", ()))
    print_lines("not read", given.unread)
    made = await carried(given.posts, given.settings, pack)
    left_out = [*given.left_out, *(one for one in made if isinstance(one, BadPost))]
    print_lines("left out", (f"{row.where}: {row.why}" for row in left_out))
    kept = {one.post.post_id: one for one in (chosen.load() if chosen.file.exists() else ())}
    new = {one.post.post_id: one for one in made if isinstance(one, Labelled)}
    routed = {row.where for row in left_out if row.why == ROUTED}  # may be there from before they had a route
    whole = {post_id: one for post_id, one in (kept | new).items() if post_id not in routed}
    if whole != kept:
        chosen.save(whole.values())
    replaced = len(kept.keys() & new.keys())
    show(f"{len(new) - replaced} posts added, {replaced} replaced; {chosen.file} holds {len(whole)}")
    return len(left_out)


@golden.command
def remove(name: str, /, *post_ids: str, settings: SettingsFile = None) -> int:
    """Remove posts from a set, and their outcomes from its baseline. Exits 1 if one was not there.

    Example: `moderation golden remove release p-17 p-18`
    """
    chosen = GoldenSet.named(load(settings).golden, name)
    posts = chosen.load()
    kept = [one for one in posts if one.post.post_id not in post_ids]
    missing = sorted(set(post_ids) - {one.post.post_id for one in posts})
    if chosen.baseline_file.exists():
        baseline = chosen.baseline()
        if baseline.data == digest(posts):  # else it is of another content, and stays so
            outcomes = {post: told for post, told in baseline.posts.items() if post not in post_ids}
            chosen.record(baseline.model_copy(update={"data": digest(kept), "posts": outcomes}))
    chosen.save(kept)
    print_lines("not there", missing)
    show(f"{len(posts) - len(kept)} posts removed; {chosen.file} holds {len(kept)}")
    return PROBLEMS if missing else 0


@golden.command(name="baseline")
def record_baseline(name: str, /, *, settings: SettingsFile = None) -> int:
    """Judge a set by the settings and keep the outcomes: what later changes are measured against.

    Exits 1 and keeps the old baseline if a post can't be judged.

    Example: `moderation golden baseline release`
    """
    loaded = load(settings)
    chosen = GoldenSet.named(loaded.golden, name)
    baseline, problems = asyncio.run(judge_set(loaded, chosen))
    print_lines("not judged", problems)
    if problems:
        return PROBLEMS
    chosen.record(baseline)
    show(f"{chosen.baseline_file}: {len(baseline.posts)} posts by policies {baseline.judged_by.policy_set_digest}")
    return 0


@golden.command
def check(
    name: str,
    /,
    *,
    policies: Annotated[Path | None, Parameter(help="The proposed pack; without it the one in force.")] = None,
    margin: Annotated[float | None, Parameter(help="Largest drop that passes; wins over golden.margin.")] = None,
    record: Annotated[bool, Parameter(negative="", help="Write a pass beside the policies.")] = False,
    as_json: Annotated[bool, Parameter(name="--json", negative="", help="Print JSON.")] = False,
    settings: SettingsFile = None,
) -> int:
    """Judge a set by the proposed policies, model, prompt, adapter and calibration, and compare it with its baseline.

    Exits 1, with the posts that flipped, if recall, F1 or specificity of a policy falls by more than the margin.

    Example: `moderation golden check release --policies proposed/ --record`
    """
    loaded = load(settings)
    if policies:
        loaded = loaded.model_copy(update={"policies": loaded.policies.model_copy(update={"path": policies})})
    if margin is not None and not 0 <= margin < 1:
        msg = f"--margin {margin:g}: should be a share from 0 to under 1, such as 0.02"
        raise Misconfigured(msg)
    chosen = GoldenSet.named(loaded.golden, name)
    posts = chosen.load()
    before = chosen.baseline_of(posts)
    now, problems = asyncio.run(judge_set(loaded, chosen))
    print_lines("not judged", problems)
    if problems:
        return PROBLEMS
    report = compare(name, posts, before, now, loaded.golden.margin if margin is None else margin)
    if as_json:
        print(json.dumps(report.as_json(), ensure_ascii=False, indent=1))
    else:
        show(*_told(report))
    if report.passed and record:
        by = now.judged_by
        gate_pass = GatePass(
            golden_set=name,
            data=now.data,
            margin=report.margin,
            policy_set_digest=by.policy_set_digest,
            model=by.model,
            passed_at=now.recorded_at,
        )
        show(f"pass recorded in {record_pass(loaded.policies.path, gate_pass)}", stderr=True)
    return 0 if report.passed else PROBLEMS


async def judge_set(settings: Settings, chosen: GoldenSet) -> tuple[Baseline, list[str]]:
    """Judge a set as the service would; the outcomes, and a line for each post that has none or may not be in a set."""
    posts, pack = chosen.load(), load_pack(settings.policies.path, images=False)
    judging = settings.judging.model_copy(update={"explain": "never"})
    chosen_settings = settings.model_copy(update={"judging": judging}).without_banks()
    with progress(len(posts)) as advance:
        async with open_judge(chosen_settings, pack) as judge:
            run = await judge_all(judge, posts, on_done=advance)
            by = JudgedBy(
                policies={one.id: one.digest for one in pack.enforced}, policy_set_digest=pack.digest, model=judge.model
            )
    routed = [
        f"{one.labelled.post.post_id}: has a route; take it out: `moderation golden remove {chosen.name}"
        f" {one.labelled.post.post_id}`"
        for one in run.judged
        if one.verdict.route
    ]
    outcomes = {one.labelled.post.post_id: outcome(one) for one in run.judged}
    made = Baseline(data=digest(posts), recorded_at=datetime.now(UTC), judged_by=by, posts=outcomes)
    return made, [*run.unjudged, *routed]


def _baseline_state(one: GoldenSet, posts: tuple[Labelled, ...]) -> str:
    if not one.baseline_file.exists():
        return "none"
    baseline = one.baseline()
    return f"{baseline.recorded_at:%Y-%m-%d}{'' if baseline.data == digest(posts) else ', of other posts or labels'}"


def _told(report: GateReport) -> Iterator[Table | str]:
    table = Table("policy", "labels", "violations", "recall", "F1", "specificity", "worse", "better", "p")
    for one in report.policies:
        figures = (_moved(one, name) for name in one.old)
        counts = (str(one.worse), str(one.better), f"{one.p_value:.3g}")
        table.add_row(one.policy_id, str(one.labels), str(one.violations), *figures, *counts)
    yield table
    if report.flips:
        flips = Table("post", "policy", "violates", "score", "decision", "images", "words", title="flips")
        for flip in report.flips[:_FLIPS_SHOWN]:
            label = f"{'yes' if flip.violates else 'no'}, now {'right' if flip.is_right else 'wrong'}"
            score = f"{_score(flip.old_score)} → {_score(flip.new_score)}"
            decision = f"{flip.old_decision} → {flip.new_decision}"
            flips.add_row(flip.post_id, flip.policy_id, label, score, decision, str(flip.images), flip.text)
        yield flips
    if len(report.flips) > _FLIPS_SHOWN:
        yield f"{len(report.flips) - _FLIPS_SHOWN} more flips; --json lists all"
    yield "changed since the baseline: " + ("; ".join(report.changes) or "nothing")
    for one in report.policies:
        for name in one.fallen:
            yield f"refused: {one.policy_id}: {name} {_moved(one, name)}, a drop of more than {report.margin:g}"
    if report.passed:
        yield f"passed: nothing fell by more than {report.margin:g} on {report.posts} posts"


def _moved(one: PolicyGate, name: str) -> str:
    if math.isnan(one.old[name]):
        return "-"
    spread = one.intervals[name]
    told = f" ({spread[0]:+.3f} to {spread[1]:+.3f})" if spread and one.old[name] != one.new[name] else ""
    return f"{one.old[name]:.3f} → {one.new[name]:.3f}{told}"


def _score(score: float | None) -> str:
    return "-" if score is None else f"{score:.2f}"
