import json
import logging

import pytest
import stamina
import structlog

from moderation_service.settings import LoggingSettings
from moderation_service.telemetry.logs import configure


@pytest.fixture(autouse=True)
def as_before() -> object:
    handlers, level = logging.getLogger().handlers[:], logging.getLogger().level
    yield
    stamina.instrumentation.set_on_retry_hooks(None)
    structlog.reset_defaults()
    logging.getLogger().handlers = handlers
    logging.getLogger().setLevel(level)


def test_lines_are_json_on_standard_error_where_it_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    configure(LoggingSettings())
    structlog.get_logger("here").info("post", post_id="p-1", decision="allow")
    logging.getLogger("library").warning("of its own")
    printed = capsys.readouterr()
    first, second = (json.loads(line) for line in printed.err.splitlines())
    assert (first["event"], first["post_id"], first["level"]) == ("post", "p-1", "info")
    assert (second["event"], second["logger"]) == ("of its own", "library")
    assert printed.out == ""


def test_a_level_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    configure(LoggingSettings(level="ERROR", format="console"))
    structlog.get_logger("here").info("quiet")
    structlog.get_logger("here").error("loud")
    printed = capsys.readouterr().err
    assert "quiet" not in printed
    assert "loud" in printed


@pytest.mark.parametrize("format_", ["json", "console"])
def test_a_stack_trace_shows_no_variables(capsys: pytest.CaptureFixture[str], format_: str) -> None:
    configure(LoggingSettings(format=format_))  # type: ignore[arg-type]
    text = "canary" + "-words"
    try:
        int(text[:0])
    except ValueError:
        structlog.get_logger("here").exception("failed")
    printed = capsys.readouterr().err
    assert "ValueError" in printed
    assert text not in printed


def test_a_retry_tells_nothing_of_what_it_tries(capsys: pytest.CaptureFixture[str]) -> None:
    configure(LoggingSettings())
    tries: list[str] = []

    @stamina.retry(on=ValueError, attempts=2, wait_initial=0, wait_jitter=0)
    def judge(words: str) -> None:
        tries.append(words)
        raise ValueError(words)

    with pytest.raises(ValueError, match="canary"):
        judge("canary-words")
    assert len(tries) == 2
    assert "canary" not in capsys.readouterr().err
