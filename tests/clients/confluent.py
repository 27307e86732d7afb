"""confluent-kafka (librdkafka): usage confluent.py BOOTSTRAP CODEC"""

import sys

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

import records

bootstrap, codec = sys.argv[1:3]
topic = f"confluent-{codec}"
admin = AdminClient({"bootstrap.servers": bootstrap})
for future in admin.create_topics([NewTopic(topic, records.PARTITIONS, 1)]).values():
    future.result(20)

failures = []
producer = Producer({"bootstrap.servers": bootstrap, "compression.type": codec, "enable.idempotence": True})
for index in range(records.COUNT):
    partition, key, value, headers = records.record(index)
    while True:
        try:
            producer.produce(
                topic,
                value,
                key,
                partition,
                on_delivery=lambda error, message: error and failures.append(error),
                headers=headers,
            )
            break
        except BufferError:
            producer.poll(0.1)
    producer.poll(0)
if producer.flush(60):
    raise SystemExit("not everything was delivered within 60 s")
if failures:
    raise SystemExit(f"{len(failures)} deliveries failed, the first with {failures[0]}")

consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "none", "enable.auto.commit": False})
consumer.assign([TopicPartition(topic, partition, 0) for partition in range(records.PARTITIONS)])
seen, count = [[] for _ in range(records.PARTITIONS)], 0
while count < records.COUNT:
    messages = consumer.consume(1000, 20)
    if not messages:
        raise SystemExit(f"nothing came for 20 s after {count} records")
    for message in messages:
        if message.error():
            raise SystemExit(message.error())
        seen[message.partition()].append((message.key(), message.value(), message.headers() or []))
        count += 1
consumer.close()
records.compare(seen)
