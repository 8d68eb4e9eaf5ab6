"""The whole way: a real Kafka, a worker and a console as processes, a person in a browser, reviews on the topic."""

import asyncio
from pathlib import Path

import pytest
from playwright.async_api import expect

from moderation_service.console.accounts import users
from moderation_service.console.store.database import open_database
from moderation_service.contracts.post import ImageRef, Post
from moderation_service.contracts.review import Review
from moderation_service.contracts.verdict import Verdict
from moderation_service.demo.samples import posts
from moderation_service.kafka.topic_io import Record, publish, read
from moderation_service.kafka.topics import create
from moderation_service.settings import KafkaSettings
from tests.conftest import skip_or_fail
from tests.console.pages.browsing import CHROMIUM, PASSWORD, Visit, browser, missing_browser
from tests.console.process.running import console, console_environment
from tests.line.service import environment, kafka_settings, worker

MANY = 10


@pytest.mark.timeout(420)
async def test_ten_posts_of_the_queue_are_decided_and_ten_reviews_are_on_the_topic(kafka: str, tmp_path: Path) -> None:
    if missing_browser():
        skip_or_fail(f"no {CHROMIUM}: apt-get install chromium")
    settings = kafka_settings(kafka)
    await create(settings, partitions=3)
    gone = (ImageRef(url="https://127.0.0.1/gone.png"),)  # refused, so nobody can tell
    unsure = [Post(post_id=f"p-{number}", text="Our new kitchen is ready", images=gone) for number in range(MANY + 2)]
    sent = [*posts("demo"), *unsure]
    await publish(
        settings,
        (Record(settings.input_topic, post.post_id.encode(), post.model_dump_json().encode()) for post in sent),
    )
    url = f"sqlite:///{tmp_path / 'console.db'}"
    async with open_database(url) as database:
        await users.add(database, settings, "mei", PASSWORD, role="reviewer", actor="user:test")
    env = console_environment(url, settings, MODERATION_CONSOLE__UNDO_S="0.5")
    async with worker(environment(settings)) as judging, console(env) as running, browser() as chromium:
        address = await running.address()
        await judging.logged('"message": "post"', len(sent))
        seen = Visit(await (await chromium.new_context()).new_page(), address)
        await seen.log_in("mei")
        await expect(seen.page.locator(".job")).not_to_have_count(0, timeout=60_000)
        await expect(seen.page.locator(".job").nth(MANY)).to_be_visible(timeout=60_000)
        decided = {}
        post_id = await seen.take("Enter")
        for number in range(MANY):
            key, decision = ("2", "block") if number % 3 else ("1", "allow")
            decided[post_id] = decision
            post_id = await seen.take(key)
        assert seen.faults == []
        reviews = await on_topic(settings.review_topic, settings, MANY)
        assert {review.post_id: review.decision for review in reviews} == decided
        assert len(reviews) == MANY
        assert {review.reviewer for review in reviews} == {"mei"}
        verdicts = {
            one.verdict_id: one
            for record in [record async for record in read(settings, settings.output_topic)]
            if (one := Verdict.model_validate_json(record.value))
        }
        assert all(verdicts[review.verdict_id].decision in {"review", "abstain"} for review in reviews)
        assert await running.stop() == 0
        assert await judging.stop() == 0


async def on_topic(topic: str, settings: KafkaSettings, many: int) -> list[Review]:
    """All reviews on the topic, once there are so many."""
    while True:
        found = [Review.model_validate_json(record.value) async for record in read(settings, topic)]
        if len(found) >= many:
            return found
        await asyncio.sleep(0.5)
