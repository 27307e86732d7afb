#!/usr/bin/env python3
"""Real Kafka clients against the real binary.

Usage: python3 tests/clients/run.py [PATH_OF_OTTLA] [--nodes 1]        (default: target/release/ottla)

Starts the binary on a free loopback port with a temporary directory, or as many as --nodes says, as one cluster. Each client creates a topic, writes 10,000 records with every
codec it has (null keys, null values, headers with duplicate keys and null values), reads them back with `assign` and compares
them. A client whose registry cannot be reached is skipped by name; fewer than four that ran is a failure, and so is one that failed.
"""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

from cluster import ROOT, WORK, Cluster, free_ports

HERE = os.path.dirname(os.path.abspath(__file__))
ALL_CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
CLIENTS_MIN = 4


def run(command, **options):
    """(exit code, output) of a command; it may take five minutes."""
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", timeout=300, **options
        )
        return done.returncode, done.stdout
    except subprocess.TimeoutExpired as error:
        return 124, f"{error.stdout or ''}\nno end within 300 s"
    except FileNotFoundError as error:
        return 127, str(error)


def install_python():
    python = os.path.join(WORK, "venv", "bin", "python")
    if not os.path.exists(python):
        code, output = run([sys.executable, "-m", "venv", os.path.join(WORK, "venv")])
        if code:
            return None, output
    code, output = run([python, "-m", "pip", "install", "-q", "-r", os.path.join(HERE, "requirements.txt")])
    return (python, "") if code == 0 else (None, output)


def install_node():
    folder = os.path.join(WORK, "node")
    os.makedirs(folder, exist_ok=True)
    for name in ("package.json", "kafkajs.js"):
        shutil.copy(os.path.join(HERE, name), folder)
    code, output = run(["npm", "install", "--silent", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=folder)
    return (folder, "") if code == 0 else (None, output)


def install_kcat():
    if shutil.which("kcat"):
        return "kcat", ""
    run(["apt-get", "update", "-qq"])
    code, output = run(["apt-get", "install", "-y", "-qq", "kcat"])
    return ("kcat", "") if code == 0 else (None, output)


class Broker:
    """The real binary on a free port, with a directory that goes with it."""

    def __init__(self, binary):
        self.folder = tempfile.mkdtemp(prefix="ottla-clients-", dir=WORK)
        self.port, controller_port = free_ports(2)
        self.bootstrap = f"127.0.0.1:{self.port}"
        self.config = os.path.join(self.folder, "server.properties")
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(
                "process.roles=broker,controller\nnode.id=1\n"
                f"listeners=PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{controller_port}\n"
                f"advertised.listeners=PLAINTEXT://127.0.0.1:{self.port}\n"
                f"controller.listener.names=CONTROLLER\ncontroller.quorum.voters=1@127.0.0.1:{controller_port}\n"
                f"log.dirs={self.folder}/logs\nnum.partitions=3\noffsets.topic.replication.factor=1\n"
            )
        code, output = run([binary, "format", "-c", self.config])
        if code:
            raise SystemExit(f"ottla format failed:\n{output}")
        self.log = open(os.path.join(self.folder, "broker.log"), "w+", encoding="utf-8")
        self.process = subprocess.Popen([binary, "start", "-c", self.config], stdout=self.log, stderr=self.log)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.05)
            if self.process.poll() is not None:
                break
        raise SystemExit(f"ottla start did not open port {self.port}:\n{self.output()}")

    def output(self):
        self.log.flush()
        with open(self.log.name, encoding="utf-8", errors="replace") as file:
            return file.read()[-4000:]

    def stop(self):
        """Ends it in good order; the exit code."""
        self.process.terminate()
        try:
            code = self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = 124
        self.log.close()
        if code == 0:
            shutil.rmtree(self.folder)
        return code


def kcat_lines(broker, topic):
    """Every record of a topic as kcat prints it: partition, offset, key, value, headers."""
    return run(["kcat", "-b", broker.bootstrap, "-C", "-t", topic, "-o", "beginning", "-e", "-q", "-Z",
                "-f", "%p|%o|%k|%s|%h\n"])


def kcat_round(broker, codec):
    """kcat has no admin call: writing creates the topic."""
    topic = f"kcat-{codec}"
    written = []
    for index in range(10_000):
        key = "" if index % 5 == 0 else f"key-{index}"
        value = "" if index % 97 == 0 and key else f"value-{index}-" + "x" * (index % 200)
        written.append(f"{key}|{value}")
    source = os.path.join(broker.folder, f"{topic}.txt")
    with open(source, "w", encoding="utf-8") as file:
        file.write("\n".join(written) + "\n")
    command = ["kcat", "-b", broker.bootstrap, "-P", "-t", topic, "-p", "0", "-K", "|", "-Z", "-l", "-z", codec,
               "-X", "enable.idempotence=true", "-H", "trace=1", "-H", "trace=again", "-H", "null", source]
    code, output = run(command)
    if code:
        return output
    code, output = run(["kcat", "-b", broker.bootstrap, "-C", "-t", topic, "-p", "0", "-o", "beginning", "-e", "-q",
                        "-Z", "-f", "%o|%k|%s|%h\n"])
    if code:
        return output
    lines = output.splitlines()
    if len(lines) != len(written):
        return f"{len(lines)} records read, {len(written)} written; first lines: {lines[:3]}"
    for index, (line, sent) in enumerate(zip(lines, written)):
        key, value = sent.split("|", 1)
        want = f"{index}|{key or 'NULL'}|{value or 'NULL'}|trace=1,trace=again,null=NULL"
        if line != want:
            return f"offset {index}: read {line!r}, written {want!r}"
    return None


def script_round(python, script):
    def round_of(broker, codec):
        code, output = run([python, os.path.join(HERE, script), broker.bootstrap, codec], cwd=HERE)
        return output or f"exit code {code}" if code else None

    return round_of


def kafkajs_round(folder):
    def round_of(broker, codec):
        code, output = run(["node", "kafkajs.js", broker.bootstrap, codec], cwd=folder)
        if code:
            return output
        code, output = kcat_lines(broker, f"kafkajs-{codec}")
        if code == 127:
            return None  # nobody here to read back with: the acknowledgements were checked
        lines = {line for line in output.splitlines()}
        if len(lines) != 10_000:
            return f"{len(lines)} records read back, 10000 written"
        for index in range(10_000):
            key = "NULL" if index % 5 == 0 else f"key-{index}"
            value = "NULL" if index % 97 == 0 and index % 5 else f"value-{index}-" + "x" * (index % 200)
            want = f"{index % 3}|{index // 3}|{key}|{value}|trace={index},trace=again,empty="
            if want not in lines:
                return f"record {index} is not as written: {want!r}"
        return None

    return round_of


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary", nargs="?", default=os.path.join(ROOT, "target", "release", "ottla"))
    parser.add_argument("--nodes", type=int, default=1)
    arguments = parser.parse_args()
    binary = os.path.abspath(arguments.binary)
    os.makedirs(WORK, exist_ok=True)
    rounds = []  # (client, codecs, round)
    skipped = []

    kcat, why = install_kcat()
    rounds += [("kcat", ALL_CODECS, kcat_round)] if kcat else skipped.append(("kcat", why)) or []
    python, why = install_python()
    for name, script in (("confluent-kafka", "confluent.py"), ("kafka-python", "kafka_python.py"), ("aiokafka", "aio_kafka.py")):
        rounds += [(name, ALL_CODECS, script_round(python, script))] if python else skipped.append((name, why)) or []
    node, why = install_node()
    rounds += [("kafkajs", ["none", "gzip", "snappy"], kafkajs_round(node))] if node else skipped.append(("kafkajs", why)) or []

    broker = Broker(binary) if arguments.nodes == 1 else Cluster(binary, arguments.nodes)
    passed = failed = 0
    print(f"{'client':<16} {'codec':<7} {'result':<7} {'seconds':>7}")
    try:
        for client, codecs, round_of in rounds:
            for codec in codecs:
                began = time.monotonic()
                problem = round_of(broker, codec)
                took = time.monotonic() - began
                print(f"{client:<16} {codec:<7} {'FAILED' if problem else 'passed':<7} {took:7.1f}", flush=True)
                if problem:
                    failed += 1
                    print("    " + problem.strip()[-1500:].replace("\n", "\n    "))
                else:
                    passed += 1
    finally:
        code = broker.stop()
    for client, why in skipped:
        print(f"{client:<16} skipped: not installed here: {why.strip().splitlines()[-1] if why.strip() else 'no reason given'}")
    ran = len(rounds)
    if code:
        print(f"the broker ended with exit code {code} after SIGTERM; its log is in {broker.folder}")
    if ran < CLIENTS_MIN:
        print(f"only {ran} clients ran: at least {CLIENTS_MIN} must")
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed or code or ran < CLIENTS_MIN else 0)


if __name__ == "__main__":
    main()
