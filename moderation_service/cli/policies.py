"""The commands on the owner's policy files."""

import asyncio
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.table import Table

from moderation_service.app.compose import open_judge
from moderation_service.cli.common import PROBLEMS, SettingsFile, load, print_lines, show, writable
from moderation_service.cli.pack_diff import diff_packs, tables
from moderation_service.errors import Misconfigured
from moderation_service.judging import policy_cases
from moderation_service.judging.policy_cases import CaseResult
from moderation_service.judging.policy_cases import junit as junit_of
from moderation_service.policies.coverage import coverage as coverage_of
from moderation_service.policies.model import policy_schema
from moderation_service.policies.pack import PolicyPack, load_pack
from moderation_service.readers.input_file import root_of
from moderation_service.settings import Settings, shipped_policies

_SCHEMA = "policy.schema.json"

policies = App(name="policies", help="The owner's policy files.")


@policies.command(name="check")
def check_policies(
    path: Path | None = None,
    /,
    *,
    coverage: Annotated[
        bool,
        Parameter(negative="", help="Print what covers each category of AILuminate, the DSA and OpenAI."),
    ] = False,
    settings: SettingsFile = None,
) -> int:
    """Validate the policy files; each fault is a line with file, line, field and what would be right.

    Example: `moderation policies check policies/standard/ --coverage`
    """
    pack = load_pack(path or load(settings).policies.path)
    print(f"{len(pack.policies)} policies, {sum(len(policy.cases) for policy in pack.policies)} cases: {pack.digest}")
    for line in _languages(pack):
        print(line)
    if never := [policy.id for policy in pack.policies if policy.thresholds.block is None]:
        print(f"blocked by people alone, never by machine: {', '.join(never)}")
    if coverage:
        show(_coverage_table(pack))
    return 0


def _languages(pack: PolicyPack) -> Iterator[str]:
    default = pack.language_for(None)
    yield "languages: " + ", ".join(f"{tag} (default)" if tag == default else tag for tag in pack.languages)
    for tag in sorted({tag for policy in pack.policies for tag in policy.languages} - {*pack.languages}):
        lacking = ", ".join(policy.id for policy in pack.policies if tag not in policy.languages)
        yield f"not judged in {tag}, which is missing in: {lacking}"


def _coverage_table(pack: PolicyPack) -> Table:
    table = Table("taxonomy", "category", "covered by")
    for one in coverage_of(pack):
        nothing = f"no policy: {one.reason}" if one.reason else "no policy"
        table.add_row(one.taxonomy, one.category, ", ".join(one.policies) or nothing)
    return table


@policies.command(name="copy")
def copy_policies(
    pack: Annotated[str, Parameter(help="starter or standard.")],
    target: Annotated[Path, Parameter(help="A folder that does not exist yet.")],
    /,
) -> int:
    """Copy a pack that comes with the service, with its images and the schema for editors, to change it.

    Example: `moderation policies copy standard my-policies`
    """
    shipped = shipped_policies().parent
    packs = sorted(folder.name for folder in shipped.iterdir() if folder.is_dir())
    if pack not in packs:
        msg = f"{pack} is no pack; should be one of {', '.join(packs)}"
        raise Misconfigured(msg)
    if target.exists():
        msg = f"{target} exists; name a folder that does not, so that no policy is overwritten"
        raise Misconfigured(msg)
    shutil.copytree(shipped / pack, target)
    shutil.copy(shipped / _SCHEMA, target)
    for file in target.glob("*.yaml"):
        file.write_text(file.read_text("utf-8").replace(f"$schema=../{_SCHEMA}", f"$schema={_SCHEMA}"), "utf-8")
    print(f"{target}: {len(load_pack(target).policies)} policies")
    return 0


@policies.command(name="show")
def show_policies(path: Path | None = None, /, *, settings: SettingsFile = None) -> int:
    """Print the policies with their digests, one JSON line each.

    Example: `moderation policies show | jq -r .digest`
    """
    for policy in load_pack(path or load(settings).policies.path).policies:
        shown = {**policy.model_dump(mode="json", exclude={"cases"}), "digest": policy.digest}
        print(json.dumps(shown, ensure_ascii=False))
    return 0


@policies.command(name="test")
def try_policies(
    path: Path | None = None,
    /,
    *,
    junit: Annotated[Path | None, Parameter(help="Write the results for a CI here.")] = None,
    settings: SettingsFile = None,
) -> int:
    """Run the policies' own cases through the engine; exits 1 if a result differs from the expected one.

    With `--junit` the results also go to a JUnit XML file.

    Example: `moderation policies test policies/starter/ --junit cases.xml`
    """
    loaded = load(settings)
    junit = writable(junit, "--junit") if junit else None
    results = asyncio.run(run_cases(loaded, path or loaded.policies.path))
    if junit:
        junit.write_bytes(junit_of(results))
    failed = [result for result in results if not result.as_expected]
    table = Table("policy", "case", "expected", "decided", "score", "attribution", title="cases that differ")
    for result in failed:
        table.add_row(*result.row())
    show(*([table] if failed else []), f"{len(results) - len(failed)} of {len(results)} cases as expected")
    return PROBLEMS if failed else 0


async def run_cases(settings: Settings, path: Path) -> list[CaseResult]:
    """Run the cases of the policies under `path`, with all modality passes."""
    pack = load_pack(path)
    judging = settings.judging.model_copy(update={"attribution": "always", "explain": "never"})
    policies = settings.policies.model_copy(update={"path": path})
    chosen = settings.with_file_root(root_of(path)).model_copy(update={"judging": judging, "policies": policies})
    async with open_judge(chosen.without_banks(), pack) as judge:
        return await policy_cases.run_cases(judge, pack)


@policies.command
def diff(
    old: Annotated[Path, Parameter(help="The pack in force.")],
    new: Annotated[Path, Parameter(help="The proposed pack.")],
    /,
    *,
    posts: Annotated[Path, Parameter(help="Posts that both packs judge.")],
    as_json: Annotated[bool, Parameter(name="--json", negative="", help="Print JSON.")] = False,
    settings: SettingsFile = None,
) -> int:
    """Judge posts by two policy packs and show what the new one would change; nothing is published.

    Exits 0 whatever would change, and 1 where rows could not be judged.

    Example: `moderation policies diff policies/starter/ proposed/ --posts posts.jsonl`
    """
    made, left_out = asyncio.run(diff_packs(load(settings), old, new, posts))
    if as_json:
        print(json.dumps(made.as_json(), ensure_ascii=False, indent=1))
    else:
        show(*tables(made))
    print_lines("left out", left_out)
    return PROBLEMS if left_out else 0


@policies.command(name="schema")
def schema_of_policies() -> int:
    """Print the JSON Schema of a policy file.

    Example: `moderation policies schema > policies/policy.schema.json`
    """
    sys.stdout.write(policy_schema())
    return 0
