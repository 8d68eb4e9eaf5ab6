import json
import logging

import pytest
import structlog

from moderation_service.settings import LoggingSettings
from moderation_service.telemetry.logs import configure


@pytest.fixture(autouse=True)
def as_before() -> object:
    handlers, level = logging.getLogger().handlers[:], logging.getLogger().level
    yield
    structlog.reset_defaults()
    logging.getLogger().handlers = handlers
    logging.getLogger().setLevel(level)


def test_lines_are_json_on_standard_error_where_it_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    configure(LoggingSettings())
    structlog.get_logger("here").info("post", post_id="p-1", decision="allow")
    logging.getLogger("library").warning("of its own")
    printed = capsys.readouterr()
    first, second = (json.loads(line) for line in printed.err.splitlines())
    assert (first["message"], first["post_id"], first["log.level"]) == ("post", "p-1", "info")
    assert (second["message"], second["log.logger"]) == ("of its own", "library")
    assert printed.out == ""


def test_a_level_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    configure(LoggingSettings(level="ERROR", format="console"))
    structlog.get_logger("here").info("quiet")
    structlog.get_logger("here").error("loud")
    printed = capsys.readouterr().err
    assert "quiet" not in printed
    assert "loud" in printed


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_a_terminal_that_wants_no_colours_has_none(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    for given in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(given, raising=False)
    for settings, coloured in (({}, True), ({name: value}, False)):
        for given, word in settings.items():
            monkeypatch.setenv(given, word)
        configure(LoggingSettings(format="console"))
        structlog.get_logger("here").info("a line")
        assert ("\x1b[" in capsys.readouterr().err) == coloured


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


def test_lines_have_elastics_names_and_no_word_where_elastic_has_an_object(capsys: pytest.CaptureFixture[str]) -> None:
    configure(LoggingSettings(format="json"))
    log = structlog.get_logger("here")
    log.warning("away", error="Timeout: none")
    log.info("post", post_id="p", decision="block", **{"trace.id": "0" * 32})
    try:
        int("")
    except ValueError:
        log.exception("failed")
    away, post, failed = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert {
        "@timestamp",
        "message",
        "log.level",
        "log.logger",
        "ecs.version",
        "service.name",
        "service.version",
    } <= set(post)
    assert (post["trace.id"], post["decision"]) == ("0" * 32, "block")
    assert away["error.message"] == "Timeout: none"
    assert "ValueError" in failed["error.stack_trace"]
    assert not {"event", "error", "log", "level", "service", "trace"} & (set(away) | set(post) | set(failed))


def test_of_the_lines_of_allowed_posts_a_share_is_written_and_all_others(capsys: pytest.CaptureFixture[str]) -> None:
    configure(LoggingSettings(format="json", allow_sample=0.25))
    log = structlog.get_logger("here")
    for number in range(400):
        trace_id = f"{number * (2**32 // 400):032x}"
        log.info("post", decision="allow", **{"trace.id": trace_id})
        log.info("post", decision="review", **{"trace.id": trace_id})
        log.info("post", outcome="dead_letter", **{"trace.id": trace_id})
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert sum(line.get("decision") == "allow" for line in lines) == 101
    assert sum(line.get("decision") == "review" for line in lines) == 400
    assert sum(line.get("outcome") == "dead_letter" for line in lines) == 400
