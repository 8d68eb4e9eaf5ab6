"""The least that a consume-transform-produce loop can do with aiokafka, exactly once: the yardstick of `pipeline`."""

import time
from collections.abc import Mapping

from moderation_service.kafka import clients
from moderation_service.kafka.topic_io import Record
from moderation_service.settings import KafkaSettings


async def bare_loop(settings: KafkaSettings, outputs: Mapping[bytes, Record], count: int) -> float:
    """Write each input record's output, by its key, with its offset in one transaction; records a second.

    Counted from the first of `count` records taken to the last commit. The clients are the service's own.
    """
    consumer = clients.consumer(settings, settings.input_topic, group=settings.group)
    producer = clients.producer(settings, f"{settings.group}.bare")
    await consumer.start()
    await producer.start()
    begun, done = 0.0, 0
    try:
        while done < count:
            found = await consumer.getmany(timeout_ms=200, max_records=settings.max_batch_posts)
            if not found:
                continue
            begun = begun or time.perf_counter()
            async with producer.transaction():
                for record in (record for records in found.values() for record in records):
                    output = outputs[record.key]
                    await producer.send(settings.output_topic, output.value, output.key, headers=output.headers)
                    done += 1
                offsets = {partition: records[-1].offset + 1 for partition, records in found.items()}
                await producer.send_offsets_to_transaction(offsets, settings.group)
        return count / (time.perf_counter() - begun)
    finally:
        await consumer.stop()
        await producer.stop()
