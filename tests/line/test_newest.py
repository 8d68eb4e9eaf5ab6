"""Deleted and reordered posts: what is newest, whatever comes late."""

import json

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from moderation_service.cli.topics import LatestVerdicts
from moderation_service.kafka.topic_io import Record
from tests.line.service import environment, moderation
from tests.stream.support import FakeJudge, kafka_settings, make_topics, post_record, published, running, send


@effort(deadline=None)
@given(st.lists(st.tuples(st.sampled_from([b"a", b"b"]), st.integers(0, 4)), max_size=20))
def test_the_highest_revision_since_the_last_deletion_is_kept(records: list[tuple[bytes, int]]) -> None:
    """Revision 0 stands for a deletion."""
    found = LatestVerdicts()
    highest: dict[bytes, tuple[int, int]] = {}
    for place, (key, revision) in enumerate(records):
        verdict = json.dumps({"post_revision": revision, "place": place}).encode()
        found.take(key, verdict if revision else None)
        if not revision:
            highest.pop(key, None)
        elif revision >= highest.get(key, (0, 0))[0]:
            highest[key] = revision, place
    kept = [json.loads(verdict) for verdict in found.verdicts]
    assert sorted((one["post_revision"], one["place"]) for one in kept) == sorted(highest.values())


@pytest.mark.timeout(150)
async def test_an_older_revision_that_comes_late_is_judged_and_hides_nothing(kafka: str, unique: str) -> None:
    settings = kafka_settings(kafka, unique)
    await make_topics(settings)
    topic = settings.input_topic
    revisions = [("edited", 2), ("edited", 3), ("edited", 1), ("gone", 1), ("back", 4)]
    await send(settings, [post_record(topic, post_id, revision=revision) for post_id, revision in revisions])
    await send(settings, [Record(topic, b"gone", None), Record(topic, b"back", None)])
    await send(settings, [post_record(topic, "back", revision=1)])
    async with running(settings, FakeJudge()):
        seen = await published(settings, 8)
    assert seen.judged == ["back", "back", "edited", "edited", "edited", "gone"]
    code, out, _ = await moderation("verdicts", "--newest", env=environment(settings))
    assert code == 0
    shown = [json.loads(line) for line in out.splitlines()]
    assert sorted((one["post_id"], one["post_revision"]) for one in shown) == [("back", 1), ("edited", 3)]


async def test_the_newest_can_not_be_followed() -> None:
    code, _, err = await moderation("verdicts", "--newest", "--follow")
    assert code == 2
    assert "--newest" in err
