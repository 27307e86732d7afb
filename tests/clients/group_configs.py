#!/usr/bin/env python3
"""Configs of single groups, set and read by administrators' clients of others.

Usage: target/clients/venv/bin/python tests/clients/group_configs.py [PATH_OF_OTTLA]          (default: target/release/ottla; tests/clients/run.py makes the venv)

confluent-kafka and kafka-python each set and describe `consumer.session.timeout.ms` and `consumer.heartbeat.interval.ms` of a group, and are refused what brokers do not allow.
"""

import os
import sys

from cluster import ROOT, WORK, Cluster

PATIENCE = 30
SESSION, INTERVAL = "consumer.session.timeout.ms", "consumer.heartbeat.interval.ms"
# The node's own (cluster.py).
OWN = {SESSION: "6000", INTERVAL: "1000"}


def expect(what, found, expected):
    if found != expected:
        raise SystemExit(f"{what}: {found}, not {expected}")
    print(f"{what}: {found}")


class Confluent:
    """confluent-kafka (librdkafka)."""

    def __init__(self, bootstrap):
        from confluent_kafka.admin import AdminClient

        self.admin = AdminClient({"bootstrap.servers": bootstrap})

    def alter(self, group, values):
        """The error's name; `None` where there is none."""
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

        operation = lambda value: AlterConfigOpType.DELETE if value is None else AlterConfigOpType.SET
        entries = [ConfigEntry(name, value, incremental_operation=operation(value)) for name, value in values.items()]
        resource = ConfigResource(ResourceType.GROUP, group, incremental_configs=entries)
        try:
            self.admin.incremental_alter_configs([resource])[resource].result(PATIENCE)
        except KafkaException as failed:
            return failed.args[0].name()
        return None

    def describe(self, group):
        from confluent_kafka.admin import ConfigResource, ResourceType

        resource = ConfigResource(ResourceType.GROUP, group)
        entries = self.admin.describe_configs([resource])[resource].result(PATIENCE)
        return {name: entry.value for name, entry in entries.items()}


class KafkaPython:
    """kafka-python."""

    def __init__(self, bootstrap):
        from kafka.admin import KafkaAdminClient

        self.admin = KafkaAdminClient(bootstrap_servers=bootstrap)

    def resource(self, group, values=None):
        from kafka.admin import ConfigResource, ConfigResourceType

        return ConfigResource(ConfigResourceType.GROUP, group, values)

    def alter(self, group, values):
        """What became of it, in the client's words."""
        return self.admin.alter_configs([self.resource(group, values)])["group"][group]

    def describe(self, group):
        """What the group sets, and not what it takes from the node."""
        entries = self.admin.describe_configs([self.resource(group)])["group"][group]
        return {name: (entry["value"], entry["config_source"]) for name, entry in entries.items()}


def main():
    binary = os.path.abspath(sys.argv[1]) if len(sys.argv) > 1 else os.path.join(ROOT, "target", "release", "ottla")
    os.makedirs(WORK, exist_ok=True)
    cluster = Cluster(binary, 1)
    is_done = False
    try:
        confluent = Confluent(cluster.bootstrap)
        expect("a group that sets nothing", confluent.describe("g"), OWN)
        expect("set", confluent.alter("g", {SESSION: "20000", INTERVAL: "2000"}), None)
        expect("described", confluent.describe("g"), {SESSION: "20000", INTERVAL: "2000"})
        kafka = KafkaPython(cluster.bootstrap)
        of_group = "DYNAMIC_GROUP_CONFIG"
        expect("described by kafka-python", kafka.describe("g"), {SESSION: ("20000", of_group), INTERVAL: ("2000", of_group)})
        expect("set by kafka-python", kafka.alter("h", {SESSION: "30000"}), "OK")
        expect("described by both", kafka.describe("h"), {SESSION: ("30000", of_group)})
        expect("described by both", confluent.describe("h"), {SESSION: "30000", INTERVAL: OWN[INTERVAL]})
        for name, value in [(SESSION, "5999"), (INTERVAL, "15001"), ("session.timeout.ms", "9000"), (INTERVAL, "often")]:
            expect(f"{name}={value}", confluent.alter("g", {name: value}), "INVALID_CONFIG")
        expect("one removed", confluent.alter("g", {SESSION: None}), None)
        expect("described", confluent.describe("g"), {SESSION: OWN[SESSION], INTERVAL: "2000"})
        is_done = True
    finally:
        if not is_done:
            print(cluster.output())
        code = cluster.stop(is_done)
    if code:
        raise SystemExit(f"a node ended with exit code {code}")


if __name__ == "__main__":
    main()
