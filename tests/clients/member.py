"""A member of a consumer group: usage member.py CLIENT BOOTSTRAP GROUP TOPIC, until SIGTERM.

Says each event in a line of JSON: which partitions it has, each record it was given, and what went wrong. It commits what it has said.
"""

import asyncio
import json
import signal
import sys

SESSION_MS = 6_000
HEARTBEAT_MS = 1_000
stopping = False


def say(**event):
    print(json.dumps(event), flush=True)


def stop(*_):
    global stopping
    stopping = True


def work(consumer):
    """Says what a consumer of confluent-kafka is given, and commits it, until it is told to stop."""
    from confluent_kafka import KafkaException

    while not stopping:
        messages = consumer.consume(100, 0.5)
        for message in messages:
            if message.error():
                say(error=str(message.error()))
            else:
                say(record=[message.partition(), message.offset(), message.value().decode()])
        if messages:
            try:
                consumer.commit(asynchronous=False)
            except KafkaException as error:
                say(error=str(error))
    consumer.close()


def confluent(bootstrap, group, topic):
    from confluent_kafka import Consumer

    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "session.timeout.ms": SESSION_MS,
            "heartbeat.interval.ms": HEARTBEAT_MS,
            "partition.assignment.strategy": "range",
        }
    )
    consumer.subscribe(
        [topic],
        on_assign=lambda _, partitions: say(assigned=sorted(one.partition for one in partitions)),
        on_revoke=lambda *_: say(assigned=[]),
    )
    work(consumer)


def kip_848(bootstrap, group, topic, subscription=None):
    """A member of the consumer protocol: the coordinator says how long sessions are, and who gets what, step by step."""
    from confluent_kafka import Consumer

    has = set()

    def assigned(_, partitions):
        has.update(one.partition for one in partitions)
        say(assigned=sorted(has))

    def revoked(_, partitions):
        has.difference_update(one.partition for one in partitions)
        say(assigned=sorted(has))

    def committed(error, _):
        if error:
            say(error=f"commit: {error}")

    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "group.protocol": "consumer",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "on_commit": committed,
        }
    )
    consumer.subscribe([subscription or topic], on_assign=assigned, on_revoke=revoked, on_lost=revoked)
    work(consumer)


def kip_848_pattern(bootstrap, group, topic):
    """The same, by a regular expression that the coordinator reads."""
    kip_848(bootstrap, group, topic, f"^{topic[:-1]}.$")


def kafka_python(bootstrap, group, topic):
    from kafka import ConsumerRebalanceListener, KafkaConsumer
    from kafka.coordinator.assignors.range import RangePartitionAssignor
    from kafka.errors import KafkaError

    class Listener(ConsumerRebalanceListener):
        def on_partitions_revoked(self, revoked):
            say(assigned=[])

        def on_partitions_assigned(self, assigned):
            say(assigned=sorted(one.partition for one in assigned))

    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap.split(","),
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        session_timeout_ms=SESSION_MS,
        heartbeat_interval_ms=HEARTBEAT_MS,
        max_poll_records=100,
        partition_assignment_strategy=[RangePartitionAssignor],
    )
    consumer.subscribe([topic], listener=Listener())
    while not stopping:
        polled = consumer.poll(timeout_ms=500)
        for partition, messages in polled.items():
            for message in messages:
                say(record=[partition.partition, message.offset, message.value.decode()])
        if polled:
            try:
                consumer.commit()
            except KafkaError as error:
                say(error=repr(error))
    consumer.close()


def aio_kafka(bootstrap, group, topic):
    from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
    from aiokafka.coordinator.assignors.range import RangePartitionAssignor
    from aiokafka.errors import KafkaError

    class Listener(ConsumerRebalanceListener):
        async def on_partitions_revoked(self, revoked):
            say(assigned=[])

        async def on_partitions_assigned(self, assigned):
            say(assigned=sorted(one.partition for one in assigned))

    async def main():
        consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap.split(","),
            group_id=group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=SESSION_MS,
            heartbeat_interval_ms=HEARTBEAT_MS,
            max_poll_records=100,
            partition_assignment_strategy=(RangePartitionAssignor,),
        )
        await consumer.start()
        consumer.subscribe([topic], listener=Listener())
        while not stopping:
            polled = await consumer.getmany(timeout_ms=500)
            for partition, messages in polled.items():
                for message in messages:
                    say(record=[partition.partition, message.offset, message.value.decode()])
            if polled:
                try:
                    await consumer.commit()
                except KafkaError as error:
                    say(error=repr(error))
        await consumer.stop()

    asyncio.run(main())


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, stop)
    client, arguments = sys.argv[1], sys.argv[2:]
    clients = {"confluent-kafka": confluent, "kafka-python": kafka_python, "aiokafka": aio_kafka}
    clients |= {"kip-848": kip_848, "kip-848-pattern": kip_848_pattern}
    clients[client](*arguments)
