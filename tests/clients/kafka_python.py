"""kafka-python: usage kafka_python.py BOOTSTRAP CODEC"""

import sys

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic

import records

bootstrap, codec = sys.argv[1:3]
records.null_headers = False
topic = f"kafka-python-{codec}"
admin = KafkaAdminClient(bootstrap_servers=bootstrap)
admin.create_topics([NewTopic(topic, num_partitions=records.PARTITIONS, replication_factor=1)])
admin.close()

producer = KafkaProducer(bootstrap_servers=bootstrap, compression_type=None if codec == "none" else codec, acks="all")
futures = []
for index in range(records.COUNT):
    partition, key, value, headers = records.record(index)
    futures.append(producer.send(topic, value=value, key=key, headers=headers, partition=partition))
producer.flush(60)
for future in futures:
    future.get(20)
producer.close()

consumer = KafkaConsumer(
    bootstrap_servers=bootstrap, enable_auto_commit=False, group_id=None, auto_offset_reset="earliest"
)
partitions = [TopicPartition(topic, partition) for partition in range(records.PARTITIONS)]
consumer.assign(partitions)
consumer.seek_to_beginning(*partitions)
seen, count, idle = [[] for _ in range(records.PARTITIONS)], 0, 0
while count < records.COUNT:
    polled = consumer.poll(timeout_ms=2000)
    idle = 0 if polled else idle + 1
    if idle == 10:
        raise SystemExit(f"nothing came for 20 s after {count} records")
    for partition, messages in polled.items():
        for message in messages:
            headers = [(key, value) for key, value in message.headers]
            seen[partition.partition].append((message.key, message.value, headers))
            count += 1
consumer.close()
records.compare(seen)
