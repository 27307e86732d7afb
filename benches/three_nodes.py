#!/usr/bin/env python3
"""A cluster of three processes on this machine: what replication costs, how long a failover takes, and what many partitions cost.

Usage: python3 benches/three_nodes.py replicas|failover|partitions [--ottla PATH] [--rounds N] [--count N]

replicas    CPU seconds (user + system) of all three nodes for acks=all to a partition of three copies, against one of one copy on the
            same cluster, turn about; the median of the rounds' ratios.
failover    the active controller gets SIGKILL: from then until another one has created a topic. Default timeouts.
partitions  --count partitions of three copies: resident memory of each node before and after, and from the start of a node that had
            all of them until it serves.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "clients"))
from cluster import WORK, Cluster
from whole_broker import cpu_seconds, memory

GIGABYTES = 1.0
RECORD = 1024


def ottla(options, bootstrap, *command, check=True, timeout=120):
    command = [options.ottla, "-b", bootstrap, *map(str, command)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=timeout)
    if check and done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}")
    return done.stdout if done.returncode == 0 else None


def described(options, cluster, topic):
    return json.loads(ottla(options, cluster.bootstrap, "--format", "json", "topic", "describe", topic))


def leader_of(options, cluster, topic):
    text = json.dumps(described(options, cluster, topic))
    return int(text.split('"leader": ', 1)[1].split(",", 1)[0])


def cpu_of_all(cluster):
    return sum(cpu_seconds(node.process.pid) for node in cluster.nodes)


def quiet(cluster):
    """Waits until nobody works for what was, 20 s at most: what replication is behind is part of the price."""
    before = cpu_of_all(cluster)
    for _ in range(20):
        time.sleep(1)
        now = cpu_of_all(cluster)
        if now - before < 0.05:
            break
        before = now
    return now


def replicas(options):
    ratios = []
    for turn in range(options.rounds):
        cluster = Cluster(options.ottla, 3)
        costs = {}
        for copies in (1, 3):
            topic = f"copies-{copies}"
            ottla(options, cluster.bootstrap, "topic", "create", topic, "-p", 1, "-r", copies)
            address = f"127.0.0.1:{cluster.nodes[leader_of(options, cluster, topic) - 1].port}"
            arguments = ["--topic", topic, "--acks", "all", "--record-size", RECORD, "--batch-size", options.batch]
            ottla(options, address, "bench", "produce", *arguments, "--num-records", 20_000)
            before = quiet(cluster)
            began = time.monotonic()
            ottla(options, address, "bench", "produce", *arguments, "--num-records", int(options.gigabytes * 1e9 / RECORD))
            took = time.monotonic() - began
            costs[copies] = (quiet(cluster) - before) / options.gigabytes
            print(f"round {turn + 1}, {copies} copies: {costs[copies]:.2f} CPU-s/GB of all nodes, {options.gigabytes * 1e3 / took:.0f} MB/s", flush=True)
        ratios.append(costs[3] / costs[1])
        cluster.stop()
    print(f"three copies against one: {statistics.median(ratios):.2f} (rounds: {', '.join(f'{ratio:.2f}' for ratio in ratios)})")


def failover(options):
    times = []
    cluster = Cluster(options.ottla, 3)
    for turn in range(options.rounds):
        quorum = json.loads(ottla(options, cluster.bootstrap, "--format", "json", "cluster", "quorum"))
        victim = cluster.nodes[quorum["leader"] - 1]
        others = ",".join(f"127.0.0.1:{node.port}" for node in cluster.nodes if node is not victim)
        began = time.monotonic()
        victim.kill()
        while ottla(options, others, "topic", "create", f"turn-{turn}", "-p", 1, "-r", 1, check=False) is None:
            time.sleep(0.01)
        times.append(time.monotonic() - began)
        print(f"round {turn + 1}: {times[-1]:.2f} s, load average {os.getloadavg()[0]:.1f}", flush=True)
        victim.start()
        victim.wait_until_serving()
        time.sleep(5)
    cluster.stop()
    print(f"from SIGKILL of the active controller until another has created a topic: median {statistics.median(times):.2f} s, worst {max(times):.2f} s")


def partitions(options):
    cluster = Cluster(options.ottla, 3)
    quiet(cluster)
    before = [memory(node.process.pid, "VmRSS") for node in cluster.nodes]
    began = time.monotonic()
    step, made = 1000, 0
    while made < options.count:
        ottla(options, cluster.bootstrap, "topic", "create", f"many-{made}", "-p", min(step, options.count - made), "-r", 3)
        made += step
    created = time.monotonic() - began
    print(f"{options.count} partitions of three copies created in {created:.1f} s", flush=True)
    idle = quiet(cluster)
    time.sleep(10)
    print(f"idle: {(cpu_of_all(cluster) - idle) / 10:.3f} CPU-s a second of all three nodes")
    for node, old in zip(cluster.nodes, before):
        now, files = memory(node.process.pid, "VmRSS"), len(os.listdir(f"/proc/{node.process.pid}/fd"))
        print(f"node {node.number}: {old:.1f} MB before, {now:.1f} MB now: {(now - old) * 1024 * 1024 / options.count:.0f} bytes a replica; {files} open files")
    for turn in range(options.rounds):
        node = cluster.nodes[turn % 3]
        for how, name in ((signal.SIGTERM, "stopped in good order"), (signal.SIGKILL, "killed")):
            if how == signal.SIGKILL:
                node.kill()
            else:
                node.stop()
            time.sleep(4)  # until it is fenced: its leaders are others'
            began = time.monotonic()
            node.start()
            while True:
                with open(node.log, encoding="utf-8", errors="replace") as file:
                    if file.read().count("Kafka Server started") >= node.starts:
                        break
                time.sleep(0.005)
            took = (time.monotonic() - began) * 1e3
            now = memory(node.process.pid, "VmRSS")
            print(f"node {node.number}, {name}: serves after {took:.0f} ms, {cpu_seconds(node.process.pid):.2f} CPU-s, {now:.1f} MB, load average {os.getloadavg()[0]:.1f}", flush=True)
            quiet(cluster)
    cluster.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["replicas", "failover", "partitions"])
    parser.add_argument("--ottla", default="target/release/ottla")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--gigabytes", type=float, default=GIGABYTES)
    parser.add_argument("--batch", type=int, default=1_000_000)
    options = parser.parse_args()
    options.ottla = os.path.abspath(options.ottla)
    os.makedirs(WORK, exist_ok=True)
    {"replicas": replicas, "failover": failover, "partitions": partitions}[options.what](options)


if __name__ == "__main__":
    main()
