"""`moderation demo`, as a newcomer runs it."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from moderation_service.demo.samples import posts
from tests.line.service import environment, moderation

COMBINED = 5


class Addresses(HTMLParser):
    """Every address a page would load, and the text it shows."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if name in {"src", "href"} and value]

    def handle_data(self, data: str) -> None:
        self.text += data


def page(path: Path) -> Addresses:
    read = Addresses()
    read.feed(path.read_text(encoding="utf-8"))
    return read


async def test_it_prints_verdicts_on_combinations_and_writes_a_page_that_needs_no_network(tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    code, out, err = await moderation("demo", "--report", str(report))
    assert code == 0, err
    assert all(line.startswith("judging") for line in err.splitlines()), err
    assert len(re.findall(r"\bcombined\b", out)) >= COMBINED
    assert {"block", "allow", "abstain"} <= set(re.findall(r"\b(?:block|review|allow|abstain)\b", out))
    assert re.search(r"block +bank scam-campaign", out)
    assert re.search(r"\(words in the image\).+block .+image_only", out)
    assert "an embedded broker, at least once" in re.sub(r"\s+", " ", out)
    shown = page(report)
    assert shown.found
    assert all(address.startswith("data:image/") for address in shown.found)
    assert all(post.text in shown.text for post in posts("x"))
    assert "near copy of one in the bank “scam-campaign”" in shown.text


@pytest.mark.timeout(120)
async def test_on_a_real_kafka_it_runs_exactly_once_and_can_be_run_again(kafka: str, tmp_path: Path) -> None:
    for _ in range(2):
        code, out, err = await moderation("demo", "--bootstrap-servers", kafka, "--report", str(tmp_path / "r.html"))
        assert code == 0, err
        assert f"Kafka at {kafka}, exactly once" in re.sub(r"\s+", " ", out)


async def test_an_unreachable_broker_is_one_line_and_exit_code_3(tmp_path: Path) -> None:
    code, out, err = await moderation(
        "demo", "--bootstrap-servers", "127.0.0.1:1", "--report", str(tmp_path / "r.html")
    )
    assert (code, out) == (3, "")
    assert "127.0.0.1:1" in err.splitlines()[-1]
    assert "Traceback" not in err


async def test_settings_of_a_service_do_not_reach_the_demo() -> None:
    env = environment(
        MODERATION_KAFKA__SECURITY_PROTOCOL="SASL_SSL",
        MODERATION_KAFKA__SASL_USERNAME="u",
        MODERATION_KAFKA__SASL_PASSWORD="p",
        MODERATION_ENGINE__MODEL="/models/of/the/service",
    )
    code, out, err = await moderation("demo", "--report", "/dev/null", env=env)
    assert code == 0, err
    assert "an embedded broker" in out


async def test_a_report_that_can_not_be_written_is_said_before_anything_is_judged(tmp_path: Path) -> None:
    code, out, err = await moderation("demo", "--report", str(tmp_path / "no" / "r.html"))
    assert (code, out) == (2, "")
    assert "no/r.html" in err
    assert "judging" not in err
