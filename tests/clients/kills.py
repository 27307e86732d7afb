#!/usr/bin/env python3
"""A cluster of three processes under load, and nodes that are killed.

Usage: python3 tests/clients/kills.py [PATH_OF_OTTLA] [--kills 5] [--seed N] [--overlap] [--pauses]     (default: target/release/ottla)

Three server.properties, three processes on free loopback ports, brokers and controllers at once. confluent-kafka (librdkafka) writes with
acks=all and idempotence to a topic of three copies, min.insync.replicas=2, while N times a node drawn at random gets SIGKILL and is started
again. Then everything is read back: each acknowledged record stands once, where it was said to be; no record stands twice; those of a
partition stand in the order of writing. With --pauses half of the kills are hangs of up to eight seconds (SIGSTOP), after which a leader that
was replaced goes on where it was. With --overlap a node may be killed before the last one is back in sync.
"""

import argparse
import os
import random
import sys
import threading
import time

from cluster import ROOT, WORK, Cluster
from run import install_python

NODES = 3
PARTITIONS = 6
TOPIC = "kills"
RATE = 400  # records a second: enough that every kill hits some in flight


class Load(threading.Thread):
    """Writes numbers, round robin over the partitions, until it is stopped."""

    def __init__(self, bootstrap):
        super().__init__()
        from confluent_kafka import Producer

        self.producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "acks": "all",
                "enable.idempotence": True,
                "linger.ms": 5,
                "message.timeout.ms": 120_000,
                "retry.backoff.max.ms": 1_000,
                "topic.metadata.refresh.interval.ms": 5_000,
            }
        )
        self.producer_error = None
        self.stopping = threading.Event()
        self.sent = 0
        self.acked = {}  # number: (partition, offset)
        self.failed = {}  # number: error
        self.longest_gap = 0.0
        self.last_ack = time.monotonic()

    def on_delivery(self, number, error, message):
        if error:
            self.failed[number] = str(error)
            return
        now = time.monotonic()
        self.longest_gap, self.last_ack = max(self.longest_gap, now - self.last_ack), now
        self.acked[number] = (message.partition(), message.offset())

    def run(self):
        began = time.monotonic()
        while not self.stopping.is_set():
            while self.sent < (time.monotonic() - began) * RATE:
                number = self.sent
                try:
                    self.producer.produce(
                        TOPIC,
                        f"{number:09d}",
                        partition=number % PARTITIONS,
                        on_delivery=lambda error, message, number=number: self.on_delivery(number, error, message),
                    )
                    self.sent += 1
                except BufferError:
                    break
            self.producer.poll(0.01)
        left = self.producer.flush(150)
        if left:
            self.producer_error = f"{left} records are undecided after 150 s"


def in_sync(admin):
    """The smallest number of replicas in sync over the topic's partitions; 0 where there is no answer."""
    try:
        partitions = admin.list_topics(TOPIC, 5).topics[TOPIC].partitions
    except Exception:  # noqa: BLE001: any trouble means: not yet
        return 0
    return min((len(one.isrs) for one in partitions.values()), default=0)


def wait_in_sync(admin, count, seconds, cluster):
    deadline = time.monotonic() + seconds
    while in_sync(admin) < count:
        if time.monotonic() > deadline:
            raise SystemExit(f"not all replicas are in sync after {seconds} s:\n{logs}")
        time.sleep(0.2)


def read_back(bootstrap):
    """Every partition's numbers, with their offsets."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "none", "enable.auto.commit": False, "auto.offset.reset": "error"})
    partitions = [TopicPartition(TOPIC, partition, 0) for partition in range(PARTITIONS)]
    ends = {one.partition: consumer.get_watermark_offsets(one, 30)[1] for one in partitions}
    consumer.assign(partitions)
    found = {partition: [] for partition in range(PARTITIONS)}
    while any(len(found[partition]) < ends[partition] for partition in found):
        messages = consumer.consume(1_000, 30)
        if not messages:
            raise SystemExit(f"nothing came for 30 s; read {[len(f) for f in found.values()]} of {ends}")
        for message in messages:
            if message.error():
                raise SystemExit(str(message.error()))
            found[message.partition()].append((message.offset(), int(message.value())))
    consumer.close()
    return found


def judge(load, found):
    """What is wrong, if anything."""
    problems = []
    places = {}
    for partition, records in found.items():
        numbers = [number for _, number in records]
        if [offset for offset, _ in records] != list(range(len(records))):
            problems.append(f"partition {partition}: the offsets are not 0 to {len(records) - 1}")
        if len(set(numbers)) != len(numbers):
            twice = sorted(number for number in set(numbers) if numbers.count(number) > 1)
            problems.append(f"partition {partition}: {len(twice)} records stand twice, the first is {twice[0]}")
        if numbers != sorted(numbers):
            at = next(i for i in range(1, len(numbers)) if numbers[i] < numbers[i - 1])
            problems.append(f"partition {partition}: out of order at offset {at}: {numbers[at - 2:at + 3]}")
        places.update({number: (partition, offset) for offset, number in records})
    lost = [number for number in load.acked if number not in places]
    if lost:
        problems.append(f"{len(lost)} acknowledged records are lost, the first is {lost[0]}, said to be at {load.acked[lost[0]]}")
    moved = [number for number, place in load.acked.items() if number in places and places[number] != place]
    if moved:
        problems.append(f"{len(moved)} records stand elsewhere: {moved[0]} at {places[moved[0]]}, said to be at {load.acked[moved[0]]}")
    return problems


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary", nargs="?", default=os.path.join(ROOT, "target", "release", "ottla"))
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--overlap", action="store_true")
    parser.add_argument("--pauses", action="store_true")
    arguments = parser.parse_args()
    from confluent_kafka.admin import AdminClient, NewTopic

    random.seed(arguments.seed)
    os.makedirs(WORK, exist_ok=True)
    cluster = Cluster(os.path.abspath(arguments.binary), NODES)
    print(f"three nodes on {cluster.bootstrap}, data in {cluster.folder}, seed {arguments.seed}", flush=True)
    load, is_good = None, False
    try:
        admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
        for future in admin.create_topics([NewTopic(TOPIC, PARTITIONS, NODES)]).values():
            future.result(30)
        wait_in_sync(admin, NODES, 60, cluster)
        load = Load(cluster.bootstrap)
        load.start()
        for kill in range(1, arguments.kills + 1):
            time.sleep(random.uniform(0.5, 2.0))
            node = random.choice(cluster.nodes)
            before = len(load.acked)
            is_pause = arguments.pauses and random.random() < 0.5
            if is_pause:
                node.pause(random.uniform(0.5, 8.0))
            else:
                node.kill()
                time.sleep(random.uniform(0.0, 5.0))
                node.start()
                node.wait_until_serving()
            began = time.monotonic()
            if not arguments.overlap or random.random() < 0.5:
                wait_in_sync(admin, NODES, 90, cluster)
            print(f"{'pause' if is_pause else 'kill '} {kill:3}: node {node.number}; {len(load.acked) - before} records acknowledged since, "
                  f"in sync again after {time.monotonic() - began:.1f} s", flush=True)
        wait_in_sync(admin, NODES, 90, cluster)
        load.stopping.set()
        load.join()
        problems = judge(load, read_back(cluster.bootstrap))
        if load.producer_error:
            problems.append(load.producer_error)
        if not load.acked:
            problems.append("not one record was acknowledged")
        print(f"{arguments.kills} kills, {load.sent} records written, {len(load.acked)} acknowledged, {len(load.failed)} failed; "
              f"the longest pause between acknowledgements was {load.longest_gap:.1f} s")
        for error in sorted(set(load.failed.values())):
            print(f"    failed: {error}")
        for problem in problems:
            print(f"    PROBLEM: {problem}")
        is_good = not problems
    finally:
        if load:
            load.stopping.set()
        code = cluster.stop(is_good)
    if code:
        print(f"a node ended with exit code {code} after SIGTERM")
    if is_good and not code:
        print("every acknowledged record was read back once")
        return 0
    print(f"data and logs are kept in {cluster.folder}")
    return 1


if __name__ == "__main__":
    try:
        import confluent_kafka  # noqa: F401
    except ImportError:
        python, why = install_python()
        if not python:
            raise SystemExit(f"confluent-kafka is not installed here: {why.strip()}")
        os.execv(python, [python, *sys.argv])
    sys.exit(main())
