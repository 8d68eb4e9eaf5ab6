"""Commands: parse, call, print. Data goes to standard output, progress and logs to standard error."""

import os
import sys
from contextlib import suppress

from cyclopts import App, CycloptsError

from moderation_service import __version__
from moderation_service.cli.common import INTERRUPTED, USAGE
from moderation_service.errors import Fatal, ModerationError
from moderation_service.settings import LoggingSettings
from moderation_service.telemetry import logs

_EXTRAS = {
    **dict.fromkeys(("confluent_kafka", "safetensors", "torch", "torchvision", "transformers"), "local"),
    **dict.fromkeys(("matplotlib", "sklearn"), "evaluation"),
    "peft": "train",
}  # by library
_OUTPUTS = {"-o", "--out", "--report", "--junit"}

cli = App(
    name="moderation",
    version=__version__,
    help="Judge posts from Kafka against written policies with a vision-language model.",
    help_format="markdown",
    result_action="return_value",
    suppress_keyboard_interrupt=False,  # main says it
)
for name, where in {
    "run": "services:run",
    "demo": "demo:demo",
    "judge": "judge:judge",
    "evaluate": "evaluation:evaluate",
    "calibrate": "evaluation:calibrate",
    "train": "training:train",
    "replay": "replay:replay",
    "rejudge": "rejudge:rejudge_posts",
    "publish": "topics:publish",
    "verdicts": "topics:verdicts",
    "schema": "topics:schema",
    "console": "services:run_console",
    "topics": "topics:topics",
    "policies": "policies:policies",
    "banks": "banks:banks",
    "holds": "holds:holds",
    "model": "model:model",
    "dlq": "dlq:dlq",
    "keys": "accounts:keys",
    "users": "accounts:users",
    "report": "report:report",
    "golden": "golden:golden",
    "bench": "bench:bench",
}.items():  # as text: a command is imported when it is asked for
    cli.command(f"moderation_service.cli.{where}", name=name)


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
        if sys.argv[1:] in ([], ["-h"], ["--help"]):
            _load_commands()
        code = cli(with_streams(sys.argv[1:]), exit_on_error=False, print_error=False) or 0
        sys.stdout.flush()
    except CycloptsError as error:
        code = _say(f"{error} (see moderation --help)", USAGE)
    except ModerationError as error:
        code = _say(str(error), error.exit_code if isinstance(error, Fatal) else Fatal.exit_code)
    except ImportError as error:
        library = str(getattr(error.__cause__ or error, "name", None))  # Cyclopts raises one from the other
        if (extra := _EXTRAS.get(library)) is None:
            raise
        code = _say(f"{library} is missing; pip install 'moderation-service[{extra}]'", USAGE)
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


def _load_commands() -> None:
    """Import all commands, so that the help has a line of each; of what lacks an extra it has the name alone."""
    for name in cli:
        with suppress(ImportError):
            cli[name]


def _say(message: str, code: int) -> int:
    print(f"moderation: {message}", file=sys.stderr)
    return code
