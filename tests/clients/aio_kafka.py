"""aiokafka: usage aio_kafka.py BOOTSTRAP CODEC"""

import asyncio
import sys

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

import records


async def main(bootstrap, codec):
    topic = f"aiokafka-{codec}"
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic, num_partitions=records.PARTITIONS, replication_factor=1)])
    await admin.close()

    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        compression_type=None if codec == "none" else codec,
        enable_idempotence=True,
    )
    await producer.start()
    futures = []
    for index in range(records.COUNT):
        partition, key, value, headers = records.record(index)
        futures.append(await producer.send(topic, value=value, key=key, headers=headers, partition=partition))
    await asyncio.wait_for(asyncio.gather(*futures), 60)
    await producer.stop()

    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="earliest")
    await consumer.start()
    partitions = [TopicPartition(topic, partition) for partition in range(records.PARTITIONS)]
    consumer.assign(partitions)
    await consumer.seek_to_beginning(*partitions)
    seen, count = [[] for _ in range(records.PARTITIONS)], 0
    while count < records.COUNT:
        polled = await consumer.getmany(timeout_ms=20_000)
        if not polled:
            raise SystemExit(f"nothing came for 20 s after {count} records")
        for partition, messages in polled.items():
            for message in messages:
                seen[partition.partition].append((message.key, message.value, list(message.headers)))
                count += 1
    await consumer.stop()
    records.compare(seen)


asyncio.run(main(*sys.argv[1:3]))
