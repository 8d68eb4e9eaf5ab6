"""The committed offset of a group, with its metadata, read so that exactly-once holds.

Works around two faults of aiokafka's `committed` (0.14):
- It asks OffsetFetch v3, which can't require a stable offset (KIP-447). Brokers before 3.9.1 may start a partition's
  next producer before the last transaction's offset is visible (https://issues.apache.org/jira/browse/KAFKA-17507).
- It ignores the error of the whole response. A coordinator that is loading then reads as "nothing committed".
"""

import asyncio
from collections.abc import Sequence

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, NotCoordinatorForGroupError, for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.commit import OffsetFetchRequest, OffsetFetchRequest_v3
from aiokafka.protocol.types import Boolean, CompactArray, CompactString, Int16, Int32, Int64, Schema, TaggedFields
from aiokafka.structs import OffsetAndMetadata

_NONE = -1
_UNSTABLE_OFFSET_COMMIT = 88
_FIRST_PAUSE_S = 0.02
_LONGEST_PAUSE_S = 0.5
_log = structlog.get_logger(__name__)
_warned: set[str] = set()


class UnstableOffsetError(KafkaError):  # type: ignore[misc]
    """UNSTABLE_OFFSET_COMMIT: a transaction of the group has an offset for the partition, and is not finished."""

    retriable = True


async def committed(consumer: AIOKafkaConsumer, partition: TopicPartition, *, stable: bool) -> OffsetAndMetadata | None:
    """None where nothing is committed. With `stable` an unfinished transaction's offset is waited for, without end.

    Raises aiokafka's errors where the broker refuses.
    """
    coordinator = consumer._coordinator  # noqa: SLF001 - aiokafka has no public way
    where = [(partition.topic, [partition.partition])]
    request = (_StableOffsetFetch if stable else OffsetFetchRequest)(coordinator.group_id, where)
    pause = _FIRST_PAUSE_S
    while True:
        await coordinator.ensure_coordinator_known()
        try:
            response = await coordinator._send_req(request)  # noqa: SLF001 - as above
            found = _offset_in(response)
        except NotCoordinatorForGroupError:
            coordinator.coordinator_dead()
        except KafkaError as error:
            if not error.retriable:
                raise
        else:
            if stable and response.API_VERSION < _Response.API_VERSION:
                _warn_of_old_broker(coordinator.group_id)
            return found
        await asyncio.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE_S)


def _offset_in(response: Response) -> OffsetAndMetadata | None:
    """The offset of the one partition asked for. Raises the error that the response holds."""
    _raise(response.error_code)
    ((_, ((_, offset, *rest), *_), *_),) = response.topics
    *_, metadata, error_code = [field for field in rest if not isinstance(field, dict)]  # but for tagged fields
    _raise(error_code)
    return None if offset == _NONE else OffsetAndMetadata(offset, metadata or "")


def _raise(code: int) -> None:
    if code == _UNSTABLE_OFFSET_COMMIT:
        raise UnstableOffsetError
    if code:
        raise for_code(code)


def _warn_of_old_broker(group: str) -> None:
    if group not in _warned:
        _warned.add(group)
        _log.warning(
            "the broker can't be asked for stable offsets (OffsetFetch v7, Kafka 2.5): "
            "after a rebalance some posts may get two verdicts; upgrade the broker",
            group=group,
        )


class _Response(Response):  # type: ignore[misc]
    API_KEY = 9
    API_VERSION = 7
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "topics",
            CompactArray(
                ("topic", CompactString("utf-8")),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32),
                        ("offset", Int64),
                        ("leader_epoch", Int32),
                        ("metadata", CompactString("utf-8")),
                        ("error_code", Int16),
                        ("tags", TaggedFields),
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("error_code", Int16),
        ("tags", TaggedFields),
    )


class _OffsetFetchRequest_v7(RequestStruct):  # type: ignore[misc] # noqa: N801 - as aiokafka names them
    API_KEY = 9
    API_VERSION = 7
    RESPONSE_TYPE = _Response
    FLEXIBLE_VERSION = True
    SCHEMA = Schema(
        ("group", CompactString("utf-8")),
        (
            "topics",
            CompactArray(
                ("topic", CompactString("utf-8")),
                ("partitions", CompactArray(Int32)),
                ("tags", TaggedFields),
            ),
        ),
        ("require_stable", Boolean),
        ("tags", TaggedFields),
    )


class _StableOffsetFetch(Request[OffsetFetchRequest_v3 | _OffsetFetchRequest_v7]):  # type: ignore[misc]
    """v7 where the broker speaks it."""

    API_KEY = 9

    def __init__(self, group: str, partitions: Sequence[tuple[str, Sequence[int]]]) -> None:
        self._group, self._partitions = group, partitions

    def build(self, request_struct_class: type[RequestStruct]) -> RequestStruct:
        if request_struct_class is _OffsetFetchRequest_v7:
            return _OffsetFetchRequest_v7(self._group, [(*named, {}) for named in self._partitions], True, {})
        return OffsetFetchRequest_v3(self._group, self._partitions)
