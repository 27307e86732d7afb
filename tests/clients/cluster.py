"""A cluster of real processes on free loopback ports."""

import base64
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
WORK = os.path.join(ROOT, "target", "clients")


def free_ports(count):
    """Ports nobody listens on now."""
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


class Node:
    """One process, and what it needs to be started again."""

    def __init__(self, binary, folder, number, port):
        self.binary, self.number, self.port = binary, number, port
        self.folder = os.path.join(folder, str(number))
        self.config = os.path.join(self.folder, "server.properties")
        self.log = os.path.join(self.folder, "node.log")
        self.process = None
        self.starts = 0

    def start(self):
        self.starts += 1
        with open(self.log, "a", encoding="utf-8") as log:
            self.process = subprocess.Popen([self.binary, "start", "-c", self.config], stdout=log, stderr=log)

    def wait_until_serving(self, seconds=90):
        """Its port is open earlier: what says that it may lead is its log."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with open(self.log, encoding="utf-8", errors="replace") as file:
                if file.read().count("Kafka Server started") == self.starts:
                    return
            if self.process.poll() is not None:
                raise SystemExit(f"node {self.number} ended with exit code {self.process.returncode}:\n{self.tail()}")
            time.sleep(0.1)
        raise SystemExit(f"node {self.number} does not serve after {seconds} s:\n{self.tail()}")

    def tail(self):
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return file.read()[-4000:]

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        with open(self.log, encoding="utf-8", errors="replace") as file:
            self.starts = file.read().count("Kafka Server started")

    def pause(self, seconds):
        """Lets it hang."""
        self.process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        self.process.send_signal(signal.SIGCONT)

    def stop(self):
        """Ends it in good order; the exit code."""
        if self.process is None or self.process.poll() is not None:
            print(f"node {self.number} had ended by itself:\n{self.tail()}")
            return -1
        self.process.terminate()
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return 124


class Cluster:
    """Nodes that are brokers and controllers at once, each with a directory of its own below one that goes with them."""

    def __init__(self, binary, count):
        self.folder = tempfile.mkdtemp(prefix="ottla-cluster-", dir=WORK)
        ports = free_ports(2 * count)
        brokers, controllers = ports[:count], ports[count:]
        voters = ",".join(f"{n}@127.0.0.1:{controllers[n - 1]}" for n in range(1, count + 1))
        self.nodes = [Node(binary, self.folder, n, brokers[n - 1]) for n in range(1, count + 1)]
        self.bootstrap = ",".join(f"127.0.0.1:{port}" for port in brokers)
        cluster_id = base64.urlsafe_b64encode(b"ottla" + os.urandom(11)).decode().rstrip("=")
        for node in self.nodes:
            os.makedirs(node.folder)
            with open(node.config, "w", encoding="utf-8") as file:
                file.write(
                    f"process.roles=broker,controller\nnode.id={node.number}\n"
                    f"listeners=PLAINTEXT://127.0.0.1:{node.port},CONTROLLER://127.0.0.1:{controllers[node.number - 1]}\n"
                    f"advertised.listeners=PLAINTEXT://127.0.0.1:{node.port}\n"
                    f"controller.listener.names=CONTROLLER\ncontroller.quorum.voters={voters}\n"
                    f"log.dirs={node.folder}/logs\n"
                    f"num.partitions=3\ndefault.replication.factor={min(count, 3)}\nmin.insync.replicas={max(min(count, 3) - 1, 1)}\n"
                    f"offsets.topic.replication.factor={min(count, 3)}\ngroup.initial.rebalance.delay.ms=500\n"
                    # Members of the consumer protocol have the session that the broker says: as short as that of the others in these tests.
                    "group.consumer.session.timeout.ms=6000\ngroup.consumer.min.session.timeout.ms=6000\n"
                    "group.consumer.heartbeat.interval.ms=1000\ngroup.consumer.min.heartbeat.interval.ms=1000\n"
                    # Kafka's nine seconds would make each kill take as long.
                    "broker.heartbeat.interval.ms=500\nbroker.session.timeout.ms=3000\n"
                )
            done = subprocess.run([binary, "format", "-t", cluster_id, "-c", node.config], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            if done.returncode:
                raise SystemExit(f"ottla format failed:\n{done.stdout}")
        for node in self.nodes:
            node.start()
        for node in self.nodes:
            node.wait_until_serving()

    def stop(self, is_done=True):
        """Ends every node in good order, and removes their data where nothing is wrong; the worst exit code."""
        threads = [threading.Thread(target=lambda node=node: codes.append(node.stop())) for node in self.nodes]
        codes = []
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        code = max(codes, key=abs)
        if code == 0 and is_done:
            shutil.rmtree(self.folder)
        return code

    def output(self):
        """The end of every node's log."""
        return "\n".join(f"--- node {node.number}\n{node.tail()}" for node in self.nodes)
