#!/usr/bin/env python3
"""Consumer groups of real clients against the real binary.

Usage: python3 tests/clients/groups.py [PATH_OF_OTTLA] [--nodes 1] [--client NAME]...          (default: target/release/ottla)

For each client, for a group of three different ones, and for groups of the consumer protocol (KIP-848): three members, each a process, read a topic of six partitions that is written
meanwhile. One is killed, one is added; with --nodes 3 the node that coordinates the group is killed too, and started again. Then every record
was processed at least once, the committed offsets read back are the ends of the partitions, the group is described, by an administrator's client and by
`ottla group`, and deleted once it is empty.

Two more groups change their protocol while they are read: each member of the classic protocol is replaced by one of the consumer protocol, one after the other, and then back. Besides, no
record is processed twice but for those whose commit was refused.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

from cluster import ROOT, WORK, Cluster
from run import HERE, install_node, install_python

PARTITIONS = 6
RATE = 300  # records a second
PATIENCE = 60
PYTHON_CLIENTS = ["confluent-kafka", "kafka-python", "aiokafka"]
MIXED = "mixed"
# Members of the consumer protocol: confluent-kafka with group.protocol=consumer, by name and by regular expression.
CONSUMER_PROTOCOL = ["kip-848", "kip-848-pattern"]
# Classic members that are replaced by members of the consumer protocol, and back.
MIGRATIONS = {"migration": ["confluent-kafka"] * 3, "migration-mixed": PYTHON_CLIENTS}
# As many records as a member takes at once, and commits together.
BATCH = 100


class Member:
    """A process that reads, and what it has said so far."""

    def __init__(self, command, cwd):
        self.assigned = []
        self.records = []
        self.errors = []
        self.stray = []
        self.process = subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            try:
                event = json.loads(line)
            except ValueError:
                self.stray.append(line.rstrip())
                continue
            if "assigned" in event:
                self.assigned = event["assigned"]
            elif "record" in event:
                self.records.append(event["record"])
            else:
                self.errors.append(event["error"])

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.assigned = []

    def stop(self):
        self.process.terminate()
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return "does not end"
        self.reader.join(10)
        return None if code == 0 else f"ended with exit code {code}: {self.stray[-5:]}"


class Writer(threading.Thread):
    """Writes numbers, round robin over the partitions, until it is stopped."""

    def __init__(self, bootstrap, topic):
        super().__init__(daemon=True)
        from confluent_kafka import Producer

        self.topic = topic
        self.producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "enable.idempotence": True})
        self.stopping = threading.Event()
        self.sent = 0
        self.failed = []

    def run(self):
        began = time.monotonic()
        while not self.stopping.is_set():
            while self.sent < (time.monotonic() - began) * RATE:
                self.producer.produce(
                    self.topic,
                    str(self.sent),
                    partition=self.sent % PARTITIONS,
                    on_delivery=lambda error, _: error and self.failed.append(str(error)),
                )
                self.sent += 1
            self.producer.poll(0.02)
        if self.producer.flush(PATIENCE):
            self.failed.append("not everything was delivered")

    def stop(self):
        self.stopping.set()
        self.join()


def wait_for(what, is_there, members):
    deadline = time.monotonic() + PATIENCE
    while not is_there():
        if time.monotonic() > deadline:
            said = [(one.assigned, len(one.records), one.errors[-2:], one.stray[-3:]) for one in members]
            raise RuntimeError(f"{what}: not within {PATIENCE} s; members: {said}")
        time.sleep(0.1)


def covers(members):
    """Each partition has one member, and each member partitions."""
    have = sorted(partition for one in members for partition in one.assigned)
    return have == list(range(PARTITIONS)) and all(one.assigned for one in members)


def seen(members):
    return {int(record[2]) for one in members for record in one.records}


class Round:
    """One group's life."""

    def __init__(self, name, clients, cluster, python, node):
        from confluent_kafka.admin import AdminClient

        self.topic, self.group = f"groups-{name}", f"group-{name}"
        self.clients, self.cluster, self.python, self.node = clients, cluster, python, node
        self.admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
        self.members = []
        self.spans = []

    def start(self, client):
        arguments = [self.cluster.bootstrap, self.group, self.topic]
        if client == "kafkajs":
            member = Member(["node", "member.js", *arguments], self.node)
        else:
            member = Member([self.python, os.path.join(HERE, "member.py"), client, *arguments], HERE)
        self.members.append(member)
        return member

    def settle(self, what, running):
        began = time.monotonic()
        wait_for(what, lambda: covers(running), self.members)
        self.spans.append(f"{what} {time.monotonic() - began:.1f} s")
        at = len(seen(self.members))
        wait_for(f"{what}: records go on", lambda: len(seen(self.members)) > at + 200, self.members)

    def coordinator(self):
        if self.clients[0] in CONSUMER_PROTOCOL or isinstance(self, Migration):
            # librdkafka describes classic groups only: the leader of the group's partition, by Java's hash of its name.
            partitions = self.admin.list_topics("__consumer_offsets", PATIENCE).topics["__consumer_offsets"].partitions
            number = 0
            for char in self.group:
                number = (number * 31 + ord(char)) & 0xFFFFFFFF
            number = abs(number - (1 << 32) if number >> 31 else number)
            return partitions[number % len(partitions)].leader
        found = self.admin.describe_consumer_groups([self.group])[self.group].result(PATIENCE)
        return found.coordinator.id

    def run(self):
        from confluent_kafka.admin import NewTopic

        copies = min(len(self.cluster.nodes), 3)
        for future in self.admin.create_topics([NewTopic(self.topic, PARTITIONS, copies)]).values():
            future.result(PATIENCE)
        writer = Writer(self.cluster.bootstrap, self.topic)
        writer.start()
        try:
            running = self.run_members()
        finally:
            writer.stop()
        if writer.failed:
            raise RuntimeError(f"{len(writer.failed)} records were not written, the first: {writer.failed[0]}")
        return self.finish(writer.sent, running)

    def run_members(self):
        """Members come and go. Those that are there in the end."""
        running = [self.start(client) for client in self.clients]
        self.settle("three joined", running)
        running.pop(0).kill()
        self.settle("one killed", running)
        running.append(self.start(self.clients[0]))
        self.settle("one added", running)
        if len(self.cluster.nodes) > 1:
            self.lose_coordinator(running)
        return running

    def lose_coordinator(self, running):
        node = next(one for one in self.cluster.nodes if one.number == self.coordinator())
        node.kill()
        try:
            self.settle("coordinator killed", running)
        finally:
            node.start()
            node.wait_until_serving()
        self.settle("coordinator back", running)

    def finish(self, sent, running):
        wait_for("every record is processed", lambda: len(seen(self.members)) == sent, self.members)
        missing = sorted(set(range(sent)) - seen(self.members))
        if missing:
            raise RuntimeError(f"{len(missing)} records were processed by nobody, the first: {missing[:3]}")
        self.wait_committed()
        self.wait_described("STABLE", len(running))
        self.check_tool(running)
        for member in running:
            problem = member.stop()
            if problem:
                raise RuntimeError(f"a member {problem}")
        self.wait_described("EMPTY", 0)
        listed = {one.group_id for one in self.admin.list_consumer_groups().result().valid}
        if self.group not in listed:
            raise RuntimeError(f"the group is not among those listed: {listed}")
        self.admin.delete_consumer_groups([self.group])[self.group].result(PATIENCE)
        count = sum(len(one.records) for one in self.members)
        self.check_doubled(count - sent)
        return f"{sent} records, {count - sent} more than once; {', '.join(self.spans)}"

    def check_doubled(self, doubled):
        """Processes that are killed double what they have not committed."""

    def wait_described(self, state, members):
        """Some clients leave and come back when their coordinator was away."""

        def is_there():
            if self.clients[0] in CONSUMER_PROTOCOL:
                return self.listed_state() == state
            described = self.admin.describe_consumer_groups([self.group])[self.group].result(PATIENCE)
            return (described.state.name, len(described.members)) == (state, members)

        wait_for(f"the group is {state} with {members} members", is_there, self.members)

    def tool(self, *words):
        """What `ottla group` prints for machines."""
        command = [self.cluster.nodes[0].binary, "group", *words, "-b", self.cluster.bootstrap, "--format", "json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        if done.returncode:
            raise RuntimeError(f"{' '.join(words)}: exit code {done.returncode}: {done.stderr}")
        return json.loads(done.stdout)

    def check_tool(self, running):
        """`ottla group` shows each partition read to its end, by as many members as there are, each with its share. A member may learn of
        its share a moment after the coordinator has given it."""
        rows = self.tool("describe", self.group)["partitions"]
        shown = [(row["topic"], row["partition"], row["lag"]) for row in sorted(rows, key=lambda row: row["partition"])]
        if shown != [(self.topic, partition, 0) for partition in range(PARTITIONS)]:
            raise RuntimeError(f"ottla group describe shows {shown}")
        by_member = [row["consumer_id"] for row in rows]
        members = self.tool("members", self.group)["members"]
        for found in (sorted(by_member.count(one) for one in set(by_member)), sorted(len(one["assignment"]) for one in members)):
            is_share_of_each = lambda found=found: found == sorted(len(one.assigned) for one in running)
            wait_for(f"members say that they read {found} partitions, as ottla group shows", is_share_of_each, self.members)
        listed = [one["group"] for one in self.tool("list", "--state", "stable")["groups"]]
        if self.group not in listed:
            raise RuntimeError(f"ottla group list shows {listed}")

    def listed_state(self):
        """The group's state in the list of those of its type: that is what librdkafka asks of groups of the consumer protocol."""
        from confluent_kafka import ConsumerGroupType

        listed = self.admin.list_consumer_groups(types={ConsumerGroupType.CONSUMER}).result(PATIENCE).valid
        states = [one.state.name for one in listed if one.group_id == self.group]
        return states[0] if states else None

    def wait_committed(self):
        """Each partition's committed offset is its end: with what is read back by an administrator, not by the members."""
        from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, TopicPartition
        from confluent_kafka.admin import AdminClient

        # A new one: librdkafka 2.16 crashes where the coordinator that it knew says NOT_COORDINATOR to this request.
        self.admin = AdminClient({"bootstrap.servers": self.cluster.bootstrap})
        reader = Consumer({"bootstrap.servers": self.cluster.bootstrap, "group.id": self.group, "enable.auto.commit": False})
        partitions = [TopicPartition(self.topic, partition) for partition in range(PARTITIONS)]
        ends = {one.partition: reader.get_watermark_offsets(one, PATIENCE)[1] for one in partitions}

        def committed():
            request = [ConsumerGroupTopicPartitions(self.group)]
            found = self.admin.list_consumer_group_offsets(request)[self.group].result(PATIENCE)
            return {one.partition: one.offset for one in found.topic_partitions}

        wait_for(f"the ends {ends} are committed", lambda: committed() == ends, self.members)
        by_client = {one.partition: one.offset for one in reader.committed(partitions, PATIENCE)}
        reader.close()
        if by_client != ends:
            raise RuntimeError(f"committed offsets are {by_client}, the ends {ends}")

    def end(self):
        for member in self.members:
            if member.process.poll() is None:
                member.kill()


class Migration(Round):
    """A group that changes its protocol while its members read."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.lost_coordinator = False

    def run_members(self):
        running = [self.start(client) for client in self.clients]
        self.settle("three joined", running)
        self.check_type("Classic")
        for client in list(self.clients):
            self.replace(running, "kip-848", f"{client} upgraded")
            self.check_type("Consumer")
            if len(self.cluster.nodes) > 1 and not self.lost_coordinator:
                self.lost_coordinator = True
                self.lose_coordinator(running)
        for count, client in enumerate(self.clients, 1):
            self.replace(running, client, f"{client} back")
            self.check_type("Classic" if count == len(self.clients) else "Consumer")
        return running

    def replace(self, running, client, what):
        """The first member leaves in good order, and another one takes its place."""
        problem = running.pop(0).stop()
        if problem:
            raise RuntimeError(f"{what}: a member {problem}")
        running.append(self.start(client))
        self.settle(what, running)

    def check_type(self, wanted):
        types = [one["type"] for one in self.tool("list")["groups"] if one["group"] == self.group]
        if types != [wanted]:
            raise RuntimeError(f"ottla group list shows the group as {types}, not as {wanted}")

    def check_doubled(self, doubled):
        """Everybody leaves in good order, and commits what it has before: only what could not be committed is read again."""
        refused = sum(len(one.errors) for one in self.members)
        if doubled > BATCH * refused and not self.lost_coordinator:
            raise RuntimeError(f"{doubled} records were processed more than once, and {refused} commits were refused")


def main(python):
    parser = argparse.ArgumentParser()
    parser.add_argument("binary", nargs="?", default=os.path.join(ROOT, "target", "release", "ottla"))
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--client", action="append")
    arguments = parser.parse_args()
    os.makedirs(WORK, exist_ok=True)
    rounds = [(name, [name] * 3) for name in PYTHON_CLIENTS]
    node, why = install_node()
    if node:
        shutil.copy(os.path.join(HERE, "member.js"), node)
        rounds.append(("kafkajs", ["kafkajs"] * 3))
    elif not arguments.client or "kafkajs" in arguments.client:
        raise SystemExit(f"kafkajs cannot be installed here: {why.strip()[-500:]}\n`--client` runs the others alone")
    rounds.append((MIXED, PYTHON_CLIENTS))
    rounds += [(name, [name] * 3) for name in CONSUMER_PROTOCOL]
    rounds += MIGRATIONS.items()
    if arguments.client:
        rounds = [one for one in rounds if one[0] in arguments.client]
    cluster = Cluster(os.path.abspath(arguments.binary), arguments.nodes)
    failed = 0
    try:
        for name, clients in rounds:
            began = time.monotonic()
            kind = Migration if name in MIGRATIONS else Round
            one = kind(name, clients, cluster, python, node)
            try:
                said = one.run()
                print(f"{name:<16} passed  {time.monotonic() - began:5.1f} s  {said}", flush=True)
            except Exception as error:  # noqa: BLE001: the other clients are tried too
                failed += 1
                print(f"{name:<16} FAILED  {time.monotonic() - began:5.1f} s  {error!r}", flush=True)
            finally:
                one.end()
    finally:
        code = cluster.stop(not failed)
    if code:
        print(f"a node ended with exit code {code} after SIGTERM")
    if failed:
        print(f"data and logs are kept in {cluster.folder}")
    print(f"{len(rounds) - failed} passed, {failed} failed")
    return 1 if failed or code or not rounds else 0


if __name__ == "__main__":
    try:
        import confluent_kafka  # noqa: F401
    except ImportError:
        installed, reason = install_python()
        if not installed:
            raise SystemExit(f"confluent-kafka is not installed here: {reason.strip()}")
        os.execv(installed, [installed, *sys.argv])
    sys.exit(main(sys.executable))
