"""docs/how-to/capacity.md: its table follows from its rules, its commands from the code."""

import math
import re
import shlex

import pytest

from moderation_service.kafka.topics import wanted
from moderation_service.settings import KafkaSettings
from tests.deploy.files import ROOT, parse

DOC = (ROOT / "docs" / "how-to" / "capacity.md").read_text(encoding="utf-8")
ROWS = re.findall(
    r"^\| ([\d,]+) \| ([\d,]+) \| (\d+) \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \| ([\d,.]+) \| ([\d,.]+) \| ([\d,]+) \|$",
    DOC,
    re.MULTILINE,
)
KNEE, SHARE, PRICE, HOURS, REPLICAS = 24, 0.7, 3.00, 730, 3
POST, VERDICT = 1_000, 3_600  # bytes


def number(cell: str) -> float:
    return float(cell.replace(",", ""))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_row_follows_from_the_rules(row: tuple[str, ...]) -> None:
    rate, workers, spare, cards, partitions, transactions, brokers, kept, money = map(number, row)
    assert workers == math.ceil(rate / (SHARE * KNEE))
    assert spare == max(1, math.ceil(workers / 20))
    assert cards == workers + spare
    assert partitions == 3 * cards
    linger, posts = KafkaSettings().linger_ms / 1000, rate / partitions
    assert transactions == round(partitions / (linger + math.exp(-linger * posts) / posts))
    assert brokers == round(rate * (POST + VERDICT) * REPLICAS / 1e6, 1)
    retention = int(next(t for t in wanted(KafkaSettings()) if t.name == "moderation.verdicts").config["retention.ms"])
    assert kept == round(rate * VERDICT * retention / 1000 * REPLICAS / 1e12, 1)
    assert money == round(cards * PRICE * HOURS)


@pytest.mark.parametrize("command", re.findall(r"moderation (bench load[^#>`\n]*)", DOC, re.MULTILINE))
def test_its_commands_are_commands(command: str) -> None:
    parse(tuple(shlex.split(command)))
