"""Delivery of one partition's releases: each is published once, though the outcome of a failure is unknown.

Opening starts the producer, which fences whoever held the partition, and only then reads the committed offset. After a
failure the same is done again, and the committed offset says whether the release went through.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import structlog
from aiokafka import TopicPartition

from moderation_service.backoff import Backoff
from moderation_service.errors import Fatal
from moderation_service.settings import KafkaSettings
from moderation_service.stream.offset_tracker import Release
from moderation_service.stream.polling import Unreadable
from moderation_service.stream.processing_result import ProcessingResult
from moderation_service.stream.publisher import OutputTooLarge, ProducerFenced, Publisher
from moderation_service.stream.resume_offset import CrashMarker, ResumeOffset, ResumeOffsetFinder
from moderation_service.telemetry import metrics

_BACKOFF = Backoff(first_s=0.1, longest_s=5.0)
_PART_POSTS = 16  # in one transaction while each send is awaited
_log = structlog.get_logger(__name__)


class Delivery:
    """Publishes by one producer. `blocked` says that the last try failed."""

    def __init__(
        self,
        partition: TopicPartition,
        settings: KafkaSettings,
        publisher: Publisher,
        resume_offset: ResumeOffsetFinder,
        backoff: Backoff = _BACKOFF,
    ) -> None:
        self.committed = -1  # the partition's committed offset
        self.blocked = False
        self.loss_marker = ""  # of a loss that nobody acknowledged
        self._partition = partition
        self._timeout_s = settings.request_timeout_s
        self._publisher = publisher
        self._resume_offset = resume_offset
        self._backoff = backoff
        self._log = _log.bind(topic=partition.topic, partition=partition.partition)

    async def open(self) -> ResumeOffset:
        """Begin, for as long as it takes. Raises ProducerFenced, Fatal, and Unreadable."""
        resume = await self._connect(opening=True)
        self.committed, self.blocked = resume.offset, False
        if resume.lost:
            metrics.LOST.inc(resume.lost)
        if resume.lost or self.loss_marker:
            self._log.error(
                "records were deleted from the log before they were judged",
                offsets_lost_now=resume.lost,
                acknowledge=f"kafka.acknowledged_loss_offsets: {self.loss_marker}" if self.loss_marker else None,
            )
        return resume

    async def close(self) -> None:
        """End in bounded time."""
        await self._publisher.close()

    async def publish(
        self, release: Release[ProcessingResult], marker: CrashMarker, failures: int
    ) -> Sequence[Release[ProcessingResult]]:
        """Try once to publish a release with its offset, after so many `failures`. Raises ProducerFenced.

        Returns what is left to publish: nothing, the same, or its parts. Where an output is refused for its size, the
        release goes in small parts whose sends are awaited, to learn which output it is; that one falls back to a
        smaller form. A part that takes too long so goes in halves.
        """
        part_posts = 0
        try:
            outputs = [output for result in release.results for output in result.outputs]
            metadata = self._metadata(marker)
            await self._publisher.publish(
                outputs, release.next_offset, metadata=metadata, await_each_send=release.is_part
            )
        except ProducerFenced:
            metrics.COMMITS.labels("fenced").inc()
            raise
        except OutputTooLarge as refusal:
            metrics.COMMITS.labels("failed").inc()
            if not _fall_back(release, refusal.index) and release.is_part:
                self._block("an output is too large for its topic, and there is no smaller form", refusal)
            part_posts = 0 if release.is_part else _PART_POSTS
        except Exception as error:  # noqa: BLE001 - whatever it was, the outcome is unknown and the offset tells it
            metrics.COMMITS.labels("failed").inc()
            self._block("a release has an unknown outcome", error)
            part_posts = len(release.offsets) // 2 if release.is_part else 0
        else:
            self._has_published(release)
            return []
        await self._backoff.wait(failures + 1)
        if await self._went_through(release):
            self._has_published(release)
            return []
        self._log.info("publishing again", posts=len(release.offsets), tries=failures + 1)
        return list(release.parts(part_posts)) if part_posts else [release]

    async def commit(self, offset: int, marker: CrashMarker) -> bool:
        """Commit without a record: past markers of transactions, or a crash marker alone. Raises ProducerFenced.

        Returns whether that is written. What fails is not tried again: it is asked for again where it still matters.
        """
        try:
            await self._publisher.publish([], offset, metadata=self._metadata(marker))
        except ProducerFenced:
            raise
        except Exception as error:
            self._block("a commit has an unknown outcome", error)
            found = (await self._connect(opening=False)).offset
            if found not in {self.committed, offset}:
                raise ProducerFenced from error
            self.blocked = False
            self.committed = found
            return False
        self.committed = offset
        metrics.COMMITS.labels("done").inc()
        return True

    async def _connect(self, *, opening: bool) -> ResumeOffset:
        """Start the producer, then read the committed offset."""
        failures = lost = 0
        while True:
            try:
                await self._publisher.start()
                async with asyncio.timeout(self._timeout_s):
                    resume = await self._resume_offset.find(opening=opening)
                # once a loss is written as its marker, it is not found again
                self.loss_marker, lost = resume.loss_marker, max(lost, resume.lost)
                if opening and not resume.is_committed:  # `latest` would skip what precedes the first commit
                    await self._publisher.publish([], resume.offset, metadata=resume.loss_marker)
            except (ProducerFenced, Fatal, Unreadable):
                raise
            except Exception as error:  # noqa: BLE001 - aiokafka also raises assertions and index errors
                self._block("a partition does not open", error)
            else:
                return replace(resume, lost=lost)
            failures += 1
            await self._backoff.wait(failures)

    async def _went_through(self, release: Release[ProcessingResult]) -> bool:
        """Connect anew, and see by the committed offset. Raises ProducerFenced."""
        committed = (await self._connect(opening=False)).offset
        if committed == release.next_offset:
            self._log.info("the release had gone through", next_offset=committed)
            return True
        if committed > self.committed:  # not by us: the partition was somebody else's meanwhile
            raise ProducerFenced
        return False

    def _has_published(self, release: Release[ProcessingResult]) -> None:
        self.blocked = False
        self.committed = max(self.committed, release.next_offset)
        metrics.COMMITS.labels("done").inc()
        metrics.BATCH_SIZE.observe(len(release.offsets))

    def _metadata(self, marker: CrashMarker) -> str:
        return "; ".join(filter(None, (self.loss_marker, marker.metadata())))

    def _block(self, what: str, error: Exception) -> None:
        if isinstance(error, TimeoutError):
            metrics.STUCK.inc()
        self.blocked = True
        self._log.warning(what, error=f"{type(error).__name__}: {error}"[:300])


def _fall_back(release: Release[ProcessingResult], refused: int | None) -> bool:
    """Let the result of the refused output fall back; False where there is no fallback, or no index."""
    if refused is None:
        return False
    of_output = [result for result in release.results for _ in result.outputs]
    return of_output[refused].use_fallback()
