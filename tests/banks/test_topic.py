import json
from types import SimpleNamespace
from typing import Any

import pytest

from moderation_service.banks.matcher import BankMatcher
from moderation_service.banks.topic import BankWriter, TopicBanks
from moderation_service.contracts.bank import Bank, BankAction, BankEntry
from moderation_service.errors import Misconfigured
from moderation_service.kafka.topic_consumer import Batch
from moderation_service.settings import BankSettings, BareSettings

SPAM = Bank(name="spam", action=BankAction.BLOCK).model_dump_json().encode()


def term(value: str) -> bytes:
    return BankEntry(kind="terms", value=value, id=value).model_dump_json().encode()


def batch(*records: tuple[str | None, bytes | None]) -> Batch:
    made: list[Any] = [
        SimpleNamespace(key=key and key.encode(), value=value, partition=0, offset=offset)
        for offset, (key, value) in enumerate(records)
    ]
    return Batch(made)


def found(banks: BankMatcher, text: str) -> list[str]:
    return [match.entry for match in banks.match_text(text).enforced]


def test_the_last_record_of_a_key_counts_in_one_batch_or_several() -> None:
    for together in (True, False):
        banks = BankMatcher()
        topic = TopicBanks(banks)
        records = [
            ("spam", SPAM),
            ("spam/bad", term("bad")),
            ("spam/worse", term("worse")),
            ("spam/bad", None),
            ("spam/never", None),
        ]
        for part in [records] if together else [[record] for record in records]:
            assert topic.apply(batch(*part)) == []
        assert found(banks, "bad or worse") == ["worse"]


def test_entries_wait_for_their_bank_which_compaction_may_leave_behind_them() -> None:
    banks = BankMatcher()
    topic = TopicBanks(banks)
    topic.apply(batch(("spam/bad", term("bad"))))
    assert banks.is_empty
    topic.apply(batch(("spam", SPAM)))
    assert found(banks, "bad") == ["bad"]
    digest = banks.digest
    topic.apply(batch(("spam", None)))
    assert banks.is_empty
    topic.apply(batch(("spam/worse", term("worse")), ("spam/worse", None), ("spam", SPAM)))
    assert (found(banks, "bad"), banks.digest) == (["bad"], digest)


WRONG = [
    ((None, SPAM), "should be BANK or BANK/ENTRY_ID"),
    (("spam/", SPAM), "should be BANK or BANK/ENTRY_ID"),
    (("spam", b"{"), "Invalid JSON"),
    (("spam", b""), "Invalid JSON"),
    (("other", SPAM), "name: spam is not that of the key, other"),
    (("spam", json.dumps({"name": "spam", "action": "shout"}).encode()), "action: Input should be"),
    (("spam/x", term("bad")), "id: bad is not that of the key, x"),
    (("spam/h", b'{"kind": "image_pdq", "value": "00", "id": "h"}'), "value: Value error, should be 64"),
    (("spam/u", b'{"kind": "urls", "value": "co.uk", "id": "u"}'), "public suffix"),
    (("spam/k", b'{"kind": "smell", "value": "x"}'), "kind: Input should be"),
    (("spam/bad", b"[" * 100_000), "recursion limit"),
    (("spam/bad", b'"' + b"x" * 5_000_000 + b'"'), "Input should be an object"),
    (("spam/long", json.dumps({"kind": "terms", "value": "x" * 2001, "id": "long"}).encode()), "value: String should"),
    (("spam/" + "x" * 600, json.dumps({"kind": "terms", "value": "x", "id": "x" * 600}).encode()), "id: String should"),
    (
        ("spam/bad", b'{"kind": "terms", "value": "bad", "id": "bad", "expires_at": "never"}'),
        "expires_at: Input should",
    ),
    (("spam/bad", b'{"kind": "terms", "value": "\\u200b", "id": "bad"}'), "has no letter"),
    (("files/bad", term("bad")), "bank files is a file of banks.path"),
]


@pytest.mark.parametrize(("record", "why"), WRONG)
def test_a_record_of_no_bank_is_skipped_by_place_and_reason(record: tuple[str | None, bytes], why: str) -> None:
    banks = BankMatcher()
    banks.put_bank(Bank(name="files", action=BankAction.BLOCK))
    (line,) = TopicBanks(banks).apply(batch(("spam", SPAM), record, ("spam/good", term("good"))))
    assert line.startswith("partition 0, offset 1: ")
    assert why in line
    assert found(banks, "good and bad") == ["good"]


async def test_a_bank_that_is_a_file_is_not_written_to_the_topic(tmp_path: Any) -> None:
    (tmp_path / "spam.jsonl").write_text('{"name": "spam", "action": "block"}\n')
    writer = BankWriter(BareSettings(banks=BankSettings(path=tmp_path)))
    with pytest.raises(Misconfigured, match=r"bank spam: is the file .*spam\.jsonl"):
        await writer.put_entries("spam", [BankEntry(kind="terms", value="bad")])


@pytest.mark.parametrize("value", [term("bad"), None])
def test_a_key_that_names_no_bank_is_skipped_and_the_others_are_taken(value: bytes | None) -> None:
    banks = BankMatcher()
    records = ("Bad Name/bad", value), ("x" * 65 + "/bad", value), ("spam", SPAM), ("spam/good", term("good"))
    skipped = TopicBanks(banks).apply(batch(*records))
    assert [line.partition(":")[0] for line in skipped] == ["partition 0, offset 0", "partition 0, offset 1"]
    assert found(banks, "good") == ["good"]
