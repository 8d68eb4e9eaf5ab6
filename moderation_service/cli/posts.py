"""The commands on posts and verdicts in files and on the topics, and their contracts."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from moderation_service.app import files
from moderation_service.app.latest_verdicts import newest as read_newest
from moderation_service.app.replay import replay as run_replay
from moderation_service.cli.common import PROBLEMS, Servers, SettingsFile, load, say_left_out, show, writable
from moderation_service.contracts.schemas import CONTRACTS, json_schema
from moderation_service.errors import Misconfigured
from moderation_service.evaluation.replay import Replayed


def judge(
    path: Path, /, *, out: Annotated[Path | None, Parameter(alias="-o")] = None, settings: SettingsFile = None
) -> int:
    """Judge a JSONL or CSV file of posts, `-` for standard input, or a folder of images with texts, without Kafka.

    With `-o` the verdicts go to that file, and the same command later goes on where it stopped. Exits 1 where rows or
    files were left out, each of which is named on standard error.

    Example: `moderation judge photos/ -o verdicts.jsonl`
    """
    out = writable(out, "--out") if out else None
    return PROBLEMS if asyncio.run(files.judge_path(load(settings), path, out)) else 0


def replay(verdicts: Path, /, *, posts: Path, settings: SettingsFile = None) -> int:
    """Judge recorded posts again, and say of each verdict that it is the same, or what differs.

    A JSON line a verdict goes to standard output, a summary to standard error. Exits 1 where any differs, or could
    not be judged again.

    Example: `moderation replay verdicts.jsonl --posts posts.jsonl | jq 'select(.result != "same")'`
    """

    def tell(one: Replayed) -> None:
        print(json.dumps(one.row(), ensure_ascii=False), flush=True)

    made = asyncio.run(run_replay(load(settings), verdicts, posts, tell))
    say_left_out(made.left_out)
    show(*([made.table()] if made.differences else []), made.line(), stderr=True)
    return 0 if made.clean else PROBLEMS


def publish(file: Path, /, *, bootstrap_servers: Servers = None, settings: SettingsFile = None) -> int:
    """Put the posts of a JSONL or CSV file, or of a folder, on the input topic.

    Example: `moderation publish posts.jsonl`
    """
    return PROBLEMS if asyncio.run(files.publish_path(load(settings, bootstrap_servers), file)) else 0


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
        found = asyncio.run(read_newest(load(settings, bootstrap_servers).kafka))
        sys.stdout.buffer.writelines(verdict + b"\n" for verdict in found.verdicts)
        return 0
    asyncio.run(files.print_verdicts(load(settings, bootstrap_servers), follow=follow))
    return 0


def schema(contract: str, /) -> int:
    """Print the JSON Schema of a contract: post, verdict, review or dead-letter.

    Example: `moderation schema post`
    """
    if contract not in CONTRACTS:
        msg = f"schema {contract}: no such contract; one of {', '.join(CONTRACTS)}"
        raise Misconfigured(msg)
    sys.stdout.write(json_schema(contract))
    return 0
