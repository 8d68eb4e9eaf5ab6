"""Labels are bounded: no metric grows with the posts."""

import json

from prometheus_client import REGISTRY

from moderation_service.settings import KafkaSettings
from moderation_service.stream.processing_result import ReceivedRecord, log_completion
from moderation_service.stream.processor import RecordProcessor
from tests.ops.names import declared
from tests.stream.records import record
from tests.stream.support import FakeJudge

BOUNDED = {
    *(
        "agreed",
        "attribution",
        "decision",
        "event",
        "key",
        "kind",
        "outcome",
        "stage",
        "bound",
        "measure",
    ),  # words of ours
    *("route", "status"),  # templates of our paths, and HTTP's statuses
    *("action", "mode"),  # of banks, words of ours too
    "what",  # parts of the console, which are ours
    "reason",  # as above, and what a model server's answer is called
    *("bank", "policy", "partition", "topic", "file"),  # as many as the owner has
    *("name", "revision", "dtype", "layout", "version"),  # one model and one build a process
}


def series() -> set[tuple[str, ...]]:
    return {
        (sample.name, *sample.labels.values())
        for family in REGISTRY.collect()
        if family.name.startswith("moderation_")
        for sample in family.samples
    }


async def judge_and_tell(post_id: str) -> None:
    processing = RecordProcessor(KafkaSettings(), FakeJudge())
    for value in (json.dumps({"post_id": post_id, "text": "hello", "author_id": post_id}).encode(), b"{" + b"x", None):
        headers = (("ce_specversion", b"1.0"), ("ce_id", post_id.encode()), ("ce_source", b"/s"), ("ce_type", b"t"))
        log_completion(await processing.process(ReceivedRecord.of(record(value, post_id.encode(), headers))))


async def test_posts_make_no_series() -> None:
    await judge_and_tell("first")
    before = series()
    for number in range(20):
        await judge_and_tell(f"post-{number}")
    assert series() == before


def test_no_label_is_of_a_post_or_a_person() -> None:
    assert set().union(*declared().values()) <= BOUNDED
