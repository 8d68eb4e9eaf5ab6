"""Commands: parse, call app, print. Data goes to standard output, progress and logs to standard error."""

import asyncio
import json
import os
import shlex
import sys
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal

from cyclopts import App, CycloptsError, Parameter
from rich.console import Console
from rich.table import Table

from moderation_service import __version__
from moderation_service.app import files, service
from moderation_service.app.demo import demo as run_demo
from moderation_service.app.dlq import print_letters
from moderation_service.app.dlq import redrive as drive_in_again
from moderation_service.app.dlq_letters import Chosen
from moderation_service.app.newest import newest as read_newest
from moderation_service.app.pack_diff import diff_packs, tables
from moderation_service.app.replay import replay as run_replay
from moderation_service.bench import BENCHES, built
from moderation_service.bench.machine import machine, versions
from moderation_service.contracts.schemas import CONTRACTS, json_schema
from moderation_service.errors import Fatal, Misconfigured, ModerationError
from moderation_service.evaluation.replay import Replayed
from moderation_service.judging.junit import junit as junit_of
from moderation_service.kafka.topics import BROKERS_DEFAULT, PARTITIONS
from moderation_service.kafka.topics import check as differences_of_topics
from moderation_service.kafka.topics import create as create_topics
from moderation_service.policies.pack import load_pack
from moderation_service.policies.schema import policy_schema
from moderation_service.settings import LoggingSettings, Settings, load_settings
from moderation_service.telemetry import logs

PROBLEMS, USAGE, INTERRUPTED = 1, 2, 130
PRINTED_WIDTH = 132  # of tables, where standard output is no terminal that has one


def _print_figures(made: dict[str, Any] | None) -> int:
    if made is not None:  # as it is after --help
        command = shlex.join(["moderation", *sys.argv[1:]])
        print(json.dumps({**made, "machine": machine(), "versions": versions(), "command": command}, indent=1))
    return 0


cli = App(
    name="moderation",
    version=__version__,
    help="Judge posts from Kafka against written policies with a vision-language model.",
    help_format="markdown",
    result_action="return_value",
)
topics = App(name="topics", help="The topics as they should be.")
policies = App(name="policies", help="The owner's policy files.")
dlq = App(name="dlq", help="Dead letters: records that could not be judged.")
keys = App(name="keys", help="Keys of the console's HTTP API.")
users = App(name="users", help="People who may log in to the console.")
bench = App(name="bench", result_action=_print_figures)
cli.command(topics)
cli.command(policies)
cli.command(dlq)
cli.command(keys)
cli.command(users)
cli.command(bench)
for name in built():  # as text: their libraries are imported when one is asked for
    said = f"{BENCHES[name]}\n\nExample: `moderation bench {name} | jq .ratio`"
    bench.command(f"moderation_service.bench.{name}:run", name=name, help=said)

SettingsFile = Annotated[Path | None, Parameter(name="--settings", help="A TOML file that lies under the environment.")]
Servers = Annotated[str | None, Parameter(help="Brokers to use: goes before settings and environment.")]
LabelFormat = Annotated[Literal["posts", "hateful_memes", "sheet"] | None, Parameter(name="--format")]


@cli.command
def run(*, settings: SettingsFile = None) -> int:
    """Consume, judge, publish, until SIGTERM (drains, then exits 0).

    Example: `MODERATION_KAFKA__BOOTSTRAP_SERVERS=kafka:9092 moderation run`
    """
    asyncio.run(_and_exit(service.run(_load(settings))))
    return 0


@cli.command(name="console")
def run_console(*, settings: SettingsFile = None) -> int:
    """The reviewers' pages and the HTTP API, until SIGTERM. Users: `moderation users`, API keys: `moderation keys`.

    Example: `MODERATION_KAFKA__BOOTSTRAP_SERVERS=kafka:9092 moderation console`
    """
    asyncio.run(_and_exit(_console().run_console(_load(settings))))
    return 0


async def _and_exit(work: Coroutine[Any, Any, None]) -> None:
    """All is drained when a service returns; what still loads or scores on a thread would hold the process up."""
    await work
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # inside the loop: its end waits for threads


@cli.command
def demo(
    *,
    bootstrap_servers: Servers = None,
    report: Path = Path("demo-report.html"),
    serve: bool = False,
    port: int = 8080,
    every: float = 3.0,
) -> int:
    """Publish sample posts, judge them with the bundled model, print the verdicts, write a report.

    Without an address the broker is an embedded one (at least once); with one, a real Kafka (exactly once).
    With `--serve` it stays up with the reviewers' console on `--port`, and a post comes in every few seconds.

    Example: `moderation demo`
    """
    if serve:
        asyncio.run(_and_exit(_console("serve").serve(port, every, partial(print, flush=True))))
    report.touch()
    made = asyncio.run(run_demo(bootstrap_servers))
    report.write_text(made.page(), encoding="utf-8")
    console = Console(width=None if sys.stdout.isatty() else PRINTED_WIDTH)
    console.print(made.table(), made.how, f"Report: {report}", sep="\n")
    return 0


@cli.command
def judge(
    path: Path, /, *, out: Annotated[Path | None, Parameter(alias="-o")] = None, settings: SettingsFile = None
) -> int:
    """Judge a JSONL or CSV file of posts, or a folder of pictures with texts, without Kafka.

    With `-o` the verdicts go to that file, and the same command later goes on where it stopped.

    Example: `moderation judge photos/ -o verdicts.jsonl`
    """
    return PROBLEMS if asyncio.run(files.judge_path(_load(settings), path, out)) else 0


@cli.command
def evaluate(  # noqa: PLR0913 - options of a command
    labelled: str,
    /,
    *,
    report: Path | None = None,
    seed: int = 7001,
    scale: float = 1.0,
    policy: str | None = None,
    form: LabelFormat = None,
    posts: Path | None = None,
    layout: Literal["post_first", "policies_first", "both"] | None = None,
    settings: SettingsFile = None,
) -> int:
    """Judge labelled posts and print the figures as JSON; `bundled` is the benchmark made here, by seed and scale.

    Labels are read from JSONL or CSV posts, the Hateful Memes layout, or a folder with a labelled sheet; one label
    column that names no policy is of `--policy`. With `--posts` the labels are reviews of these; `reviews` stands for
    the review topic. `--layout` tells how far policies move one another's scores in a layout, or in both.

    Example: `moderation evaluate bundled --report report.html | jq .combined.f1`
    """
    wanted = _labelled()
    named = wanted.Named(labelled, policy, form, posts)
    made, page = asyncio.run(wanted.evaluate_labelled(_load(settings), named, seed=seed, scale=scale, layout=layout))
    print(json.dumps(made.figures, ensure_ascii=False, indent=1))
    if report:
        report.write_text(page, encoding="utf-8")
    return 0


@cli.command
def calibrate(  # noqa: PLR0913 - options of a command
    labelled: str,
    /,
    *,
    out: Annotated[Path, Parameter(alias="-o")],
    recall: float | None = None,
    precision: float | None = None,
    cost: float | None = None,
    policy: str | None = None,
    form: LabelFormat = None,
    posts: Path | None = None,
    verdicts: Path | None = None,
    seed: int = 7002,
    scale: float = 1.0,
    settings: SettingsFile = None,
) -> int:
    """Fit each policy's calibration to labelled posts, and its review threshold to a target, if one is given.

    Labels are read as by `evaluate`. With `--verdicts` they are reviews of these, and nothing is judged: the recorded
    scores are taken, as they are for `reviews`, the review topic. Exits 1, and writes nothing, where no policy has the
    labels for it.

    Example: `moderation calibrate reviewed.jsonl -o calibration.json --recall 0.9`
    """
    wanted = _labelled()
    target = wanted.Target.of(recall=recall, precision=precision, cost=cost)
    named = wanted.Named(labelled, policy, form, posts, verdicts)
    made = asyncio.run(wanted.calibrate_labelled(_load(settings), named, seed=seed, scale=scale, target=target))
    table = Table(*wanted.COLUMNS, title="calibration")
    for line in made.lines:
        table.add_row(*line.cells())
    _show(table, *(f"refused: {line.policy}: {line.refused}" for line in made.lines if line.refused), stderr=True)
    if not made.file.policies:
        return PROBLEMS
    made.write(out)
    return 0


@cli.command
def replay(verdicts: Path, /, *, posts: Path, settings: SettingsFile = None) -> int:
    """Judge recorded posts again, and say of each verdict that it is the same, or what differs.

    A JSON line a verdict goes to standard output, a summary to standard error. Exits 1 where any differs, or could
    not be judged again.

    Example: `moderation replay verdicts.jsonl --posts posts.jsonl | jq 'select(.result != "same")'`
    """

    def tell(one: Replayed) -> None:
        print(json.dumps(one.row(), ensure_ascii=False), flush=True)

    made = asyncio.run(run_replay(_load(settings), verdicts, posts, tell))
    _say_left_out(made.left_out)
    _show(*([made.table()] if made.differences else []), made.line(), stderr=True)
    return 0 if made.clean else PROBLEMS


@cli.command
def publish(file: Path, /, *, bootstrap_servers: Servers = None, settings: SettingsFile = None) -> int:
    """Put the posts of a JSONL or CSV file, or of a folder, on the input topic.

    Example: `moderation publish posts.jsonl`
    """
    return PROBLEMS if asyncio.run(files.publish_path(_load(settings, bootstrap_servers), file)) else 0


@cli.command
def verdicts(
    *, follow: bool = False, newest: bool = False, bootstrap_servers: Servers = None, settings: SettingsFile = None
) -> int:
    """Print the verdicts on the output topic as JSON lines, from the first to the latest.

    With `--newest` one a post, of its highest revision, and none of a deleted post.

    Example: `moderation verdicts --follow | jq .decision`
    """
    if newest:
        if follow:
            msg = "verdicts: --newest looks at what is there now; leave out --follow"
            raise Misconfigured(msg)
        found = asyncio.run(read_newest(_load(settings, bootstrap_servers).kafka))
        sys.stdout.buffer.writelines(verdict + b"\n" for verdict in found.verdicts)
        return 0
    asyncio.run(files.print_verdicts(_load(settings, bootstrap_servers), follow=follow))
    return 0


@cli.command
def schema(contract: str, /) -> int:
    """Print the JSON Schema of a contract: post, verdict, review or dead-letter.

    Example: `moderation schema post`
    """
    if contract not in CONTRACTS:
        msg = f"schema {contract}: no such contract; one of {', '.join(CONTRACTS)}"
        raise Misconfigured(msg)
    sys.stdout.write(json_schema(contract))
    return 0


@bench.default
def no_such_bench(name: str, /) -> int:
    """Measure, and print figures with what they were measured on.

    Example: `moderation bench cache | jq .ratio`
    """
    msg = f"bench {name}: no such bench; one of {', '.join(built())}"
    raise Misconfigured(msg)


@topics.command
def create(
    *,
    partitions: int = PARTITIONS,
    replication: int = BROKERS_DEFAULT,
    bootstrap_servers: Servers = None,
    settings: SettingsFile = None,
) -> int:
    """Create the topics that are missing; `replication -1` is the brokers' default.

    Example: `moderation topics create --partitions 12 --replication 3`
    """
    outcome = asyncio.run(create_topics(_load(settings, bootstrap_servers).kafka, partitions, replication))
    print(*(f"{name}: {what}" for name, what in outcome.items()), sep="\n")
    return 0


@topics.command(name="check")
def check_topics(
    *,
    partitions: int | None = None,
    replication: int | None = None,
    bootstrap_servers: Servers = None,
    settings: SettingsFile = None,
) -> int:
    """Say how the topics differ from what they should be; exits 1 if they do.

    Partitions and replicas are compared where they are given.

    Example: `moderation topics check --replication 3`
    """
    kafka = _load(settings, bootstrap_servers).kafka
    differences = asyncio.run(differences_of_topics(kafka, partitions, replication))
    print(*(differences or ["the topics are as they should be"]), sep="\n")
    return PROBLEMS if differences else 0


@dlq.command(name="list")
def list_letters(
    *,
    reason: str | None = None,
    stage: str | None = None,
    key: str | None = None,
    bootstrap_servers: Servers = None,
    settings: SettingsFile = None,
) -> int:
    """Print the dead letters, a JSON line each, without what the posts say.

    Example: `moderation dlq list --reason not_json | jq -r .key`
    """
    asyncio.run(print_letters(_load(settings, bootstrap_servers).kafka, Chosen(reason, stage, key)))
    return 0


@dlq.command
def redrive(
    *,
    reason: str | None = None,
    stage: str | None = None,
    key: str | None = None,
    most: int = 1,
    bootstrap_servers: Servers = None,
    settings: SettingsFile = None,
) -> int:
    """Send the records of dead letters to the input topic again, each letter once, `most` times a record.

    Exits 1 where some that are meant were left out.

    Example: `moderation dlq redrive --reason engine_error`
    """
    kafka = _load(settings, bootstrap_servers).kafka
    return PROBLEMS if asyncio.run(drive_in_again(kafka, Chosen(reason, stage, key), most)) else 0


@keys.command(name="create")
def create_key(name: str, /, *, scope: list[str], settings: SettingsFile = None) -> int:
    """Make a key and print it, this once; `--scope` is judge, read, review or admin (all of them), once or more.

    Example: `moderation keys create uploads --scope judge --scope read`
    """
    print(asyncio.run(_console("keys").create(_load(settings), name, scope)))
    return 0


@keys.command(name="list")
def list_keys(*, settings: SettingsFile = None) -> int:
    """Print the keys, a JSON line each, without their secrets.

    Example: `moderation keys list | jq 'select(.revoked_at == null)'`
    """
    sys.stdout.writelines(f"{row}\n" for row in asyncio.run(_console("keys").rows(_load(settings))))
    return 0


@keys.command(name="revoke")
def revoke_key(key_id: str, /, *, settings: SettingsFile = None) -> int:
    """Refuse a key from now on.

    Example: `moderation keys revoke 3f9c0a17b2d4`
    """
    asyncio.run(_console("keys").revoke(_load(settings), key_id))
    return 0


@policies.command(name="check")
def check_policies(path: Path | None = None, /, *, settings: SettingsFile = None) -> int:
    """Validate the policy files; each fault is a line with file, line, field and what would be right.

    Example: `moderation policies check policies/`
    """
    pack = load_pack(path or _load(settings).policies.path)
    print(f"{len(pack.policies)} policies, {sum(len(policy.cases) for policy in pack.policies)} cases: {pack.digest}")
    return 0


@policies.command
def show(path: Path | None = None, /, *, settings: SettingsFile = None) -> int:
    """Print the policies with their digests, one JSON line each.

    Example: `moderation policies show | jq -r .digest`
    """
    for policy in load_pack(path or _load(settings).policies.path).policies:
        shown = {**policy.model_dump(mode="json", exclude={"cases"}), "digest": policy.digest}
        print(json.dumps(shown, ensure_ascii=False))
    return 0


@policies.command(name="test")
def try_policies(path: Path | None = None, /, *, junit: Path | None = None, settings: SettingsFile = None) -> int:
    """Run the policies' own cases through the engine; exits 1 if a result differs from the expected.

    With `--junit` the results go to a JUnit XML file too.

    Example: `moderation policies test policies/ --junit cases.xml`
    """
    loaded = _load(settings)
    if junit:
        junit.touch()
    results = asyncio.run(files.run_cases(loaded, path or loaded.policies.path))
    if junit:
        junit.write_bytes(junit_of(results))
    failed = [result for result in results if not result.as_expected]
    table = Table("policy", "case", "expected", "decided", "score", "attribution", title="cases that differ")
    for result in failed:
        table.add_row(*result.row())
    _show(*([table] if failed else []), f"{len(results) - len(failed)} of {len(results)} cases as expected")
    return PROBLEMS if failed else 0


@policies.command
def diff(
    old: Path,
    new: Path,
    /,
    *,
    posts: Path,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    settings: SettingsFile = None,
) -> int:
    """Judge posts by two policy packs and show what the new one would change; nothing is published.

    Exits 0 whatever would change, and 1 where rows could not be judged.

    Example: `moderation policies diff policies/ proposed/ --posts posts.jsonl`
    """
    made, left_out = asyncio.run(diff_packs(_load(settings), old, new, posts))
    if as_json:
        print(json.dumps(made.as_json(), ensure_ascii=False, indent=1))
    else:
        _show(*tables(made))
    _say_left_out(left_out)
    return PROBLEMS if left_out else 0


@policies.command(name="schema")
def schema_of_policies() -> int:
    """Print the JSON Schema of a policy file.

    Example: `moderation policies schema > policies/policy.schema.json`
    """
    sys.stdout.write(policy_schema())
    return 0


@users.command(name="add")
def add_user(name: str, /, *, role: Literal["reviewer", "admin"] = "reviewer", settings: SettingsFile = None) -> int:
    """Let somebody log in to the console; the password is asked for, or the first line of standard input.

    A user who was disabled begins anew, with this password and role.

    Example: `pass show moderation/ann | moderation users add ann`
    """
    loaded, of_console = _load(settings), _console("users")
    asyncio.run(of_console.add(loaded, name, role, of_console.read_password()))
    return 0


@users.command(name="list")
def list_users(*, settings: SettingsFile = None) -> int:
    """Print the users, a JSON line each.

    Example: `moderation users list | jq 'select(.disabled_at == null)'`
    """
    sys.stdout.writelines(f"{row}\n" for row in asyncio.run(_console("users").rows(_load(settings))))
    return 0


@users.command(name="disable")
def disable_user(name: str, /, *, settings: SettingsFile = None) -> int:
    """Let somebody log in no more, and end their sessions.

    Example: `moderation users disable ann`
    """
    asyncio.run(_console("users").disable(_load(settings), name))
    return 0


def _labelled() -> ModuleType:
    """The commands on labelled posts, whose libraries a service does without."""
    try:
        return import_module("moderation_service.app.labelled")
    except ModuleNotFoundError as error:
        msg = f"{error.name} is missing: install moderation-service[evaluation]"
        raise Misconfigured(msg) from error


def _console(module: str = "console") -> ModuleType:
    """What runs the console, whose libraries a worker does without."""
    try:
        return import_module(f"moderation_service.app.{module}")
    except ModuleNotFoundError as error:
        msg = f"{error.name} is missing: install moderation-service[console]"
        raise Misconfigured(msg) from error


def _show(*what: Table | str, stderr: bool = False) -> None:
    """Print tables and lines as wide as the terminal; whatever stands in them is no markup."""
    width = None if (sys.stderr if stderr else sys.stdout).isatty() else PRINTED_WIDTH
    Console(stderr=stderr, width=width, markup=False, highlight=False).print(*what, sep="\n")


def _say_left_out(lines: Iterable[str]) -> None:
    for line in lines:
        print(f"left out: {line}", file=sys.stderr)


def _load(toml: Path | None, bootstrap_servers: str | None = None) -> Settings:
    settings = load_settings(toml, **({"kafka": {"bootstrap_servers": bootstrap_servers}} if bootstrap_servers else {}))
    logs.configure(settings.logging)
    return settings


def main() -> None:
    """Run the command line and exit: 0 done, 1 problems found, 2 usage or settings, 3 can't go on."""
    logs.configure(LoggingSettings(level="WARNING"))  # until the settings are read, and for commands without any
    try:
        code = cli(exit_on_error=False, print_error=False) or 0
        sys.stdout.flush()
    except CycloptsError as error:
        code = _say(f"{error} (see moderation --help)", USAGE)
    except ModerationError as error:
        code = _say(str(error), error.exit_code if isinstance(error, Fatal) else Fatal.exit_code)
    except KeyboardInterrupt:
        code = _say("interrupted", INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains while it exits
        code = 0
    except (OSError, UnicodeError) as error:
        code = _say(str(error), USAGE)
    with suppress(OSError):
        sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # the interpreter's own end is slow after torch, and one of its libraries tells of leaks then


def _say(message: str, code: int) -> int:
    print(f"moderation: {message}", file=sys.stderr)
    return code
