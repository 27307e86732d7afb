#!/usr/bin/env python3
"""The whole broker, in processes of its own, against the floor of `ottla bench echo`.

Usage: python3 benches/whole_broker.py load|start|recovery [--ottla PATH] [--rounds N] [--dir DIR] [--discarding PATH] [--kafka "CLASSPATH"]

load      CPU of the server (user + system) for Produce and Fetch, servers in turn, round after round; medians, and medians of the
          rounds' ratios to echo. Servers run on core 0, the load on core 1.
start     from the start of the process to the answer to ApiVersions and Metadata, on a formatted empty directory; resident memory.
recovery  the same after `kill -9`, with --gigabytes in one partition.
"""

import argparse
import os
import resource
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time

# name, record bytes, batch bytes, gigabytes a round
LOADS = [("1 KiB in 16 KB", 1024, 16384, 1.0), ("1 KiB in 1 MB", 1024, 1000000, 2.0), ("100 B in 1 MB", 100, 1000000, 1.0)]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid, name):
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith(name))


def request(stream, api, version, body):
    """Sends a request with a header of version 1 and reads the answer."""
    frame = struct.pack(">hhih", api, version, 1, 1) + b"b" + body
    stream.sendall(struct.pack(">i", len(frame)) + frame)
    length = struct.unpack(">i", read(stream, 4))[0]
    return read(stream, length)


def read(stream, count):
    data = b""
    while len(data) < count:
        piece = stream.recv(count - len(data))
        if not piece:
            raise ConnectionError
        data += piece
    return data


def wait_until_served(port, topic=None):
    """Polls until Metadata is answered, and with `topic` until ListOffsets for its partition 0 says where its end is."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=10) as stream:
                stream.settimeout(30)
                request(stream, 18, 0, b"")
                request(stream, 3, 1, struct.pack(">i", 0))
                while topic:
                    name = struct.pack(">h", len(topic)) + topic.encode()
                    body = struct.pack(">ii", -1, 1) + name + struct.pack(">iiq", 1, 0, -1)
                    error, _, offset = struct.unpack(">hqq", request(stream, 2, 1, body)[-18:])
                    if error == 0:
                        return offset
                    time.sleep(0.001)
                return None
        except (ConnectionError, OSError):
            time.sleep(0.001)
    raise SystemExit("the server does not serve")


class Server:
    """One server on core 0."""

    def __init__(self, name, options):
        self.name, self.options = name, options
        self.folder = tempfile.mkdtemp(prefix="bench-", dir=options.dir)
        self.port = free_port()
        getattr(self, "start_" + name)()
        if name != "echo":
            wait_until_served(self.port)

    def spawn(self, command, **more):
        log = open(os.path.join(self.folder, "server.log"), "a", encoding="utf-8")
        command = ["taskset", "-c", "0", *command]
        self.process = subprocess.Popen(command, stderr=log, **{"stdout": log, **more})
        self.pid = self.process.pid

    def start_echo(self):
        self.spawn([self.options.ottla, "bench", "echo", "--port", str(self.port)])
        time.sleep(0.5)

    def start_discarding(self):
        self.spawn([self.options.discarding, "--serve-discarding", self.options.dir], stdout=subprocess.PIPE)
        self.port = int(self.process.stdout.readline().decode().strip().rsplit(":", 1)[1])

    def configure(self, kafka=False):
        controller = free_port()
        self.config = os.path.join(self.folder, "server.properties")
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(
                "process.roles=broker,controller\nnode.id=1\n"
                f"listeners=PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{controller}\n"
                f"advertised.listeners=PLAINTEXT://127.0.0.1:{self.port}\n"
                f"controller.listener.names=CONTROLLER\ncontroller.quorum.voters=1@127.0.0.1:{controller}\n"
                f"log.dirs={self.folder}/logs\n"
            )
            if kafka:
                file.write("offsets.topic.replication.factor=1\n")

    def start_ottla(self):
        self.configure()
        subprocess.run([self.options.ottla, "format", "-c", self.config], check=True, stdout=subprocess.DEVNULL)
        self.start_again()

    def start_again(self):
        self.spawn([self.options.ottla, "start", "-c", self.config])

    def start_kafka(self):
        self.configure(kafka=True)
        java = ["java", "-cp", self.options.kafka]
        identity = "AAAAAAAAQACAAAAAAAAAAQ"
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run([*java, "kafka.tools.StorageTool", "format", "-t", identity, "-c", self.config], check=True, **quiet)
        self.spawn(["java", "-Xms1G", "-Xmx1G", "-XX:+UseG1GC", "-cp", self.options.kafka, "kafka.Kafka", self.config])

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        self.process.wait()

    def remove(self):
        self.stop(signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)


def ottla(options, port, *command):
    command = ["taskset", "-c", "1", options.ottla, "-b", f"127.0.0.1:{port}", *map(str, command)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}")
    return done.stdout


def produce(options, server, record, batch, gigabytes):
    """CPU seconds a GB of values, and CPU microseconds a request."""
    count = int(gigabytes * 1e9 / record)
    before = cpu_seconds(server.pid)
    arguments = ["--num-records", count, "--record-size", record, "--batch-size", batch]
    ottla(options, server.port, "bench", "produce", *arguments, *(["--echo"] if server.name == "echo" else []))
    cpu = cpu_seconds(server.pid) - before
    requests = count / max(1, batch // (record + 12))
    return cpu / gigabytes, cpu * 1e6 / requests


# What storing costs at least: the same bytes by `pwrite` into a new file, made durable every 64 MiB as the broker does.
WRITE = """
import os, sys
path, batch, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
data, file, synced = os.urandom(batch), os.open(path, os.O_CREAT | os.O_WRONLY), 0
for index in range(count):
    os.pwrite(file, data, index * batch)
    if (index + 1) * batch - synced > 64 << 20:
        os.fdatasync(file)
        synced = (index + 1) * batch
"""


def write(options, batch, gigabytes):
    """CPU seconds a GB, and CPU microseconds a write."""
    path, count = os.path.join(options.dir, "bench-write"), int(gigabytes * 1e9 / batch)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(["taskset", "-c", "0", sys.executable, "-c", WRITE, path, str(batch), str(count)], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    os.unlink(path)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu / gigabytes, cpu * 1e6 / count


def consume(options, server, record, batch, gigabytes):
    before = cpu_seconds(server.pid)
    ottla(options, server.port, "bench", "consume", "--messages", int(gigabytes * 1e9 / record * 0.99))
    return (cpu_seconds(server.pid) - before) / gigabytes, 0.0


def load(options):
    names = ["echo", "ottla"] + (["discarding"] if options.discarding else []) + (["kafka"] if options.kafka else [])
    servers, results = [], {}
    try:
        for name in names:
            servers.append(Server(name, options))
        brokers = [server for server in servers if server.name != "echo"]
        for server in servers:
            if server.name != "echo":
                ottla(options, server.port, "topic", "create", "bench", "-p", 1)
            warm = 4.0 if server.name == "kafka" else 0.2
            for _, record, batch, _ in LOADS:
                produce(options, server, record, batch, warm)
        for turn in range(options.rounds):
            for name, record, batch, gigabytes in LOADS:
                for broker in brokers:
                    ottla(options, broker.port, "topic", "delete", "bench")
                    ottla(options, broker.port, "topic", "create", "bench", "-p", 1)
                time.sleep(1)  # what was deleted goes in the background
                results.setdefault(("produce " + name, "pwrite"), []).append(write(options, batch, gigabytes))
                for server in servers:
                    measured = produce(options, server, record, batch, gigabytes)
                    results.setdefault(("produce " + name, server.name), []).append(measured)
                for server in brokers:
                    if server.name != "discarding":
                        measured = consume(options, server, record, batch, gigabytes)
                        results.setdefault(("fetch " + name, server.name), []).append(measured)
            print(f"round {turn + 1}, load average {os.getloadavg()[0]:.1f}", flush=True)
    finally:
        for server in servers:
            if server.name in ("ottla", "kafka"):
                print(f"{server.name}: peak memory {memory(server.pid, 'VmHWM'):.0f} MB")
            server.remove()
    print(f"{'':24}{'server':12}{'CPU-s/GB':>10}{'us a request':>14}{'x echo':>8}{'us over echo':>14}")
    for (work, name), values in results.items():
        floor = results.get((work, "echo"))
        against = f"{'':>8}{'':>14}"
        if floor:
            ratio = statistics.median(one[0] / echo[0] for one, echo in zip(values, floor))
            over = statistics.median(one[1] - echo[1] for one, echo in zip(values, floor))
            against = f"{ratio:8.2f}{over:14.2f}"
        per_gb, per_request = (statistics.median(column) for column in zip(*values))
        print(f"{work:24}{name:12}{per_gb:10.3f}{per_request:14.2f}{against}")


def start(options):
    times = []
    for _ in range(options.rounds):
        server = Server("ottla", options)
        server.stop()
        shutil.rmtree(os.path.join(server.folder, "logs"))
        subprocess.run([options.ottla, "format", "-c", server.config], check=True, stdout=subprocess.DEVNULL)
        began = time.monotonic()
        server.start_again()
        wait_until_served(server.port)
        times.append((time.monotonic() - began) * 1e3)
        cpu = cpu_seconds(server.pid)
        time.sleep(2)
        print(f"{times[-1]:.0f} ms, {cpu:.2f} CPU-s, idle {memory(server.pid, 'VmRSS'):.1f} MB, load average {os.getloadavg()[0]:.1f}", flush=True)
        server.remove()
    print(f"start of a formatted empty directory: median {statistics.median(times):.0f} ms, least {min(times):.0f} ms")


def recovery(options):
    server = Server("ottla", options)
    ottla(options, server.port, "topic", "create", "bench", "-p", 1)
    for _ in range(options.rounds):
        produce(options, server, 1024, 1000000, options.gigabytes / options.rounds)
        server.stop(signal.SIGKILL)
        began = time.monotonic()
        server.start_again()
        end = wait_until_served(server.port, "bench")
        took = (time.monotonic() - began) * 1e3
        time.sleep(1)
        with open(os.path.join(server.folder, "server.log"), encoding="utf-8") as file:
            said = [line.strip() for line in file if "recover" in line]
        print(f"{end * 1024 / 1e9:.2f} GB: {took:.0f} ms, {cpu_seconds(server.pid):.2f} CPU-s, load average {os.getloadavg()[0]:.1f}; {said[-1] if said else ''}", flush=True)
    server.remove()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["load", "start", "recovery"])
    parser.add_argument("--ottla", default="target/release/ottla")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dir", default=tempfile.gettempdir(), help="where the servers' directories are made")
    parser.add_argument("--discarding", help="the executable of benches/io_ratios, for a broker that stores nothing")
    parser.add_argument("--kafka", help="the class path of Apache Kafka, to measure it too")
    parser.add_argument("--gigabytes", type=float, default=3.0)
    options = parser.parse_args()
    {"load": load, "start": start, "recovery": recovery}[options.what](options)


if __name__ == "__main__":
    main()
