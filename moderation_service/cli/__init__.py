"""Commands: parse, call, print. Data goes to standard output, progress and logs to standard error."""

import os
import sys
from contextlib import suppress

from cyclopts import App, CycloptsError

from moderation_service import __version__
from moderation_service.cli.accounts import keys, users
from moderation_service.cli.banks import banks
from moderation_service.cli.bench import bench
from moderation_service.cli.common import INTERRUPTED, USAGE
from moderation_service.cli.demo import demo
from moderation_service.cli.dlq import dlq
from moderation_service.cli.evaluation import calibrate, evaluate
from moderation_service.cli.holds import holds
from moderation_service.cli.judge import judge
from moderation_service.cli.model import model
from moderation_service.cli.policies import policies
from moderation_service.cli.replay import replay
from moderation_service.cli.services import run, run_console
from moderation_service.cli.topics import publish, schema, topics, verdicts
from moderation_service.errors import Fatal, ModerationError
from moderation_service.settings import LoggingSettings
from moderation_service.telemetry import logs

_OUTPUTS = {"-o", "--out", "--report", "--junit"}

cli = App(
    name="moderation",
    version=__version__,
    help="Judge posts from Kafka against written policies with a vision-language model.",
    help_format="markdown",
    result_action="return_value",
    suppress_keyboard_interrupt=False,  # main says it
)
for command in (run, demo, judge, evaluate, calibrate, replay, publish, verdicts, schema):
    cli.command(command)
cli.command(run_console, name="console")
for group in (topics, policies, banks, holds, model, dlq, keys, users, bench):
    cli.command(group)


def with_streams(arguments: list[str]) -> list[str]:
    """The arguments with each `-` as standard input, or as standard output where an option names an output.

    Cyclopts takes a lone `-` for an option.
    """
    before = ["", *arguments]
    streams = ("/dev/stdout" if name in _OUTPUTS else "/dev/stdin" for name in before)
    return [stream if one == "-" else one for one, stream in zip(arguments, streams, strict=False)]


def main() -> None:
    """Run the command line and exit: 0 done, 1 problems found, 2 usage or settings, 3 can't go on."""
    logs.configure(LoggingSettings(level="WARNING"))  # until the settings are read, and for commands without any
    try:
        code = cli(with_streams(sys.argv[1:]), exit_on_error=False, print_error=False) or 0
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
