"""`moderation rejudge`: past posts under another pack."""

import asyncio
import json
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter, validators

from moderation_service.app.rejudge import Rejudge, rejudge
from moderation_service.cli.common import PROBLEMS, SettingsFile, load, print_lines, progress_of_all, show
from moderation_service.cli.pack_diff import tables
from moderation_service.contracts.base import utc_moment
from moderation_service.contracts.enums import Decision
from moderation_service.errors import Misconfigured
from moderation_service.evaluation.pack_diff import Judged, PackDiff, Said
from moderation_service.policies.pack import PolicyPack, load_pack
from moderation_service.stream.rejudge import Publish
from moderation_service.stream.rejudge_plan import RejudgePlan

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_POSITIVE = validators.Number(gt=0)


def rejudge_posts(  # noqa: PLR0913 - options of a command
    *,
    since: Annotated[str, Parameter(help="30d, 12h, or a moment such as 2026-05-01T00:00Z.")],
    policies: Annotated[Path, Parameter(help="The pack to judge by.")],
    out: Annotated[Path, Parameter(alias="-o", help="A folder for the plan; running it again goes on there.")],
    where: Annotated[str | None, Parameter(help="decision=allow, or another: only posts with this verdict.")] = None,
    rate: Annotated[float | None, Parameter(validator=_POSITIVE, help="Posts a second at most.")] = None,
    publish: Annotated[Publish, Parameter(help="Which verdicts to publish.")] = "none",
    max_lag: Annotated[int, Parameter(validator=_POSITIVE, help="Wait while live posts are further behind.")] = 100,
    as_json: Annotated[bool, Parameter(name="--json", negative="", help="Print JSON.")] = False,
    settings: SettingsFile = None,
) -> int:
    """Judge past posts by another policy pack, and show what changes; live posts go first.

    Reads the input topics from `--since` to their present end, each post at its newest revision, and compares with the
    recorded verdicts. Run it again with the same folder to go on after a stop or a kill: nothing is lost or doubled.
    Exits 1 where posts could not be judged, or it was stopped.

    Example: `moderation rejudge --since 30d --policies proposed/ -o rejudged/ --where decision=allow`
    """
    loaded, pack = load(settings), load_pack(policies)
    wanted = Rejudge(since_of(since, datetime.now(UTC)), publish, decision_of(where), rate, max_lag)
    out.mkdir(parents=True, exist_ok=True)
    with progress_of_all() as on_progress:
        is_done = asyncio.run(rejudge(loaded, pack, wanted, out, on_progress))
    in_force = load_pack(loaded.policies.path, images=False)
    with closing(RejudgePlan(out / "plan.db")) as plan:
        diff, failures, unrecorded = report_of(plan, in_force, pack)
    if as_json:
        print(json.dumps({**diff.as_json(), "not_judged": failures, "unrecorded": unrecorded}, indent=1))
    else:
        show(*tables(diff))
    print_lines("not judged", [f"{count} posts: {why}" for why, count in failures.items()])
    print_lines("not compared", [f"{unrecorded} posts without a recorded verdict"] if unrecorded else ())
    return 0 if is_done and not failures else PROBLEMS


def report_of(plan: RejudgePlan, old: PolicyPack, new: PolicyPack) -> tuple[PackDiff, Counter[str], int]:
    """What changed, how many posts failed by reason, and how many have no recorded verdict."""
    diff, failures, unrecorded = PackDiff(old, new), Counter[str](), 0
    for row in plan.rows():
        if row.failure or not row.new:
            failures[row.failure or "not finished"] += 1
        elif row.old:
            shown = row.post_id, row.revision, row.text, row.images
            diff.count(shown, _judged(row.old, 0), _judged(row.new, row.tokens))
        else:
            unrecorded += 1
    return diff, failures, unrecorded


def since_of(text: str, now: datetime) -> datetime:
    """The moment: so long before `now`, or as written. Raises Misconfigured."""
    number, unit = text[:-1], _UNITS.get(text[-1:])
    if unit and number.isdecimal():
        return now - timedelta(**{unit: int(number)})
    try:
        return utc_moment(text)
    except ValueError:
        msg = f"--since {text}: should be such as 30d, 12h or 2026-05-01T00:00Z"
        raise Misconfigured(msg) from None


def decision_of(where: str | None) -> str | None:
    """The decision that is asked for. Raises Misconfigured."""
    if where is None:
        return None
    name, _, value = where.partition("=")
    if name != "decision" or value not in list(Decision):
        msg = f"--where {where}: should be decision=, and one of {', '.join(Decision)}"
        raise Misconfigured(msg)
    return value


def _judged(said: str, tokens: int) -> Judged:
    read: dict[str, Any] = json.loads(said)
    parts = (*read["policies"], *read["shadow"])
    return Judged(read["decision"], {part["policy_id"]: Said(part["outcome"], part["score"]) for part in parts}, tokens)
