"""Whatever a producer sends: a verdict, a deletion, or a dead letter with a reason; never a crash, never a hang."""

import asyncio
import gc
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import ConsumerRecord
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from moderation_service.contracts.dead_letter import DeadLetter
from moderation_service.contracts.verdict import Verdict
from moderation_service.judging.batcher import Batcher
from moderation_service.judging.calibration import Calibration
from moderation_service.judging.judge import Judge
from moderation_service.kafka.record_sizes import record_limit
from moderation_service.media.loader import ImageLoader
from moderation_service.policies.pack import load_pack
from moderation_service.settings import MIB, JudgingSettings, KafkaSettings, Settings, shipped_policies
from moderation_service.stream import worker
from moderation_service.stream.processing_result import ProcessingResult, ReceivedRecord
from moderation_service.stream.processor import RecordProcessor
from tests.hostile.records import GIANTS, records
from tests.judging.engines import RuleEngine
from tests.stream.records import record
from tests.timing import cpu_time_below, slowness

TOGETHER, ROUNDS = 20, 500
LONGEST_S = 4.0  # of CPU, on a machine that does other things too
REASONS = {
    "not_json", "avro_or_protobuf", "wrong_schema", "no_key", "wrong_content_type", "wrong_envelope",
    "verdict_too_large",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _collecting_as_a_worker_does() -> Iterator[None]:
    usual = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(worker._COLLECT_AT)
    yield
    gc.set_threshold(*usual)
    gc.unfreeze()


def _nowhere(host: str, port: int) -> list[Any]:
    raise socket.gaierror(socket.EAI_NONAME, "no such host")


@asynccontextmanager
async def line(kafka: KafkaSettings) -> AsyncIterator[RecordProcessor]:
    """The whole line of a worker but for Kafka and the model: real opening, images, judging, sealing."""
    chosen = Settings(kafka=kafka, judging=JudgingSettings(result_cache_size=0, block_uncalibrated=True))
    engine = RuleEngine()
    async with ImageLoader(chosen.media, lookup=_nowhere) as loader, Batcher(engine) as batcher:
        judge = Judge(
            settings=chosen,
            pack=load_pack(shipped_policies(), images=False),
            calibration=Calibration.load(None),
            loader=loader,
            engine=engine,
            batcher=batcher,
            shadow_batcher=batcher,
        )
        yield RecordProcessor(kafka, judge)


def what_became(finished: ProcessingResult, kafka: KafkaSettings) -> str:
    """Its outcome, checked as a reader of the topics would."""
    output = finished.outputs[0]
    assert output.size <= record_limit(kafka)
    if finished.outcome == "deleted":
        assert (output.topic, output.value) == (kafka.output_topic, None)
        return "deleted"
    assert output.value is not None
    if finished.outcome == "verdict":
        verdict = Verdict.model_validate_json(output.value)
        assert output.key == verdict.post_id.encode()
        return f"verdict: {verdict.decision}"
    # the last of a name counts: a producer may have sent such headers too
    letter = DeadLetter.from_headers(list(dict(output.headers).items()))
    assert (output.topic, letter.reason) == (kafka.dead_letter_topic, finished.reason)
    assert letter.reason in REASONS
    assert letter.exception_message
    return f"dead letter: {letter.reason}"


@pytest.mark.timeout(300)
def test_ten_thousand_hostile_records_each_become_a_verdict_a_deletion_or_a_dead_letter(
    capsys: pytest.CaptureFixture[str],
) -> None:
    kafka = KafkaSettings()
    became: Counter[str] = Counter()
    slowest = 0.0

    async def finish(processing: RecordProcessor, arriving: Sequence[ConsumerRecord]) -> list[ProcessingResult]:
        async with asyncio.timeout(60):
            return await asyncio.gather(*(processing.process(ReceivedRecord.of(one)) for one in arriving))

    with asyncio.Runner() as runner:
        opened = line(kafka)
        processing = runner.run(opened.__aenter__())

        @settings(
            max_examples=ROUNDS,
            deadline=None,
            database=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        @given(st.lists(records, min_size=TOGETHER, max_size=TOGETHER))
        def judged(arriving: list[ConsumerRecord]) -> None:
            nonlocal slowest
            begun = time.process_time()
            found = runner.run(finish(processing, arriving))
            slowest = max(slowest, time.process_time() - begun)
            became.update(what_became(finished, kafka) for finished in found)

        try:
            judged()
        finally:
            runner.run(opened.__aexit__(None, None, None))

    with capsys.disabled():
        print(f"\n{became.total()} hostile records, the slowest {TOGETHER} in {slowest:.2f} s of CPU:")  # noqa: T201
        print("\n".join(f"{count:6} {outcome}" for outcome, count in became.most_common()))  # noqa: T201
    assert became.total() >= TOGETHER * ROUNDS
    assert slowest < LONGEST_S * slowness()
    assert {"verdict: allow", "verdict: block", "verdict: abstain", "deleted"} <= became.keys()
    assert {f"dead letter: {reason}" for reason in REASONS - {"verdict_too_large"}} <= became.keys()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", GIANTS)
async def test_a_giant_record_is_done_with_in_seconds(name: str) -> None:
    kafka = KafkaSettings(max_message_bytes=64 * MIB)
    async with line(kafka) as processing:
        giant = record(GIANTS[name]())
        with cpu_time_below(LONGEST_S):
            finished = await processing.process(ReceivedRecord.of(giant))
    assert what_became(finished, kafka)
