"""fleet-load in the fleet's pods: servers, and clients that hold many connections and verify every byte."""

import json
import os

from .shell import wait_until

PORT = 9000


class LoadServer:
    """TCP echo and push, and UDP echo, on a port of a pod; identifies itself by the pod's name."""

    def __init__(self, fleet, pod, program, port=PORT):
        self.pod = pod
        netns = fleet.pod(pod.cluster, pod.name)
        self.daemon = netns.start(
            f"load-{pod.full_name}", [program, "serve", pod.full_name, str(port)],
            os.path.join(fleet.folder, "log", f"load-server-{pod.full_name}-{port}.log"))

        def listens():
            sockets = [line.split() for line in netns.run(["ss", "-Hlntu"]).stdout.splitlines()]
            return {words[0] for words in sockets if words[4].endswith(f":{port}")} == {"tcp", "udp"}
        wait_until(listens, what=f"{self.daemon.name} listens")

    def stop(self):
        self.daemon.stop()


class LoadClient:
    """Connections from one pod to one or more (address, port); latest() returns their state."""

    def __init__(self, fleet, pod, program, name, targets, *options):
        self.log = os.path.join(fleet.folder, "log", f"load-client-{name}.log")
        if os.path.exists(self.log):
            os.remove(self.log)  # left by an earlier client of this name
        words = [word for address, port in targets for word in (address, str(port))]
        self.daemon = fleet.pod(pod.cluster, pod.name).start(
            f"load-{name}", [program, "connect", *[str(option) for option in options], *words], self.log)

    def latest(self):
        """The last report as a dictionary (fields: see client.h); None before the first."""
        with open(self.log, encoding="utf-8") as file:
            lines = [line for line in file.read().split("\n")[:-1] if line.startswith("{")]
        return json.loads(lines[-1]) if lines else None

    def reports(self):
        """Number of reports so far."""
        with open(self.log, encoding="utf-8") as file:
            return sum(line.startswith("{") for line in file.read().split("\n")[:-1])

    def wait(self, condition, timeout, what):
        """Waits until `condition` holds for a report; returns that report."""
        last = {}

        def met():
            report = self.latest()
            last["report"] = report
            if not self.daemon.alive:
                raise RuntimeError(f"{self.daemon.name} exited:\n{self.daemon.log_tail()}")
            return report if report and condition(report) else None
        try:
            return wait_until(met, timeout, interval=0.2, what=what)
        except TimeoutError as error:
            raise TimeoutError(f"{error}; last report {last['report']}") from error

    def wait_open(self, count, timeout=60.0):
        """Waits until `count` connections have received an answer."""
        return self.wait(lambda report: report["greeted"] >= count, timeout, f"{count} connections established")

    def wait_rounds(self, more=2, timeout=90.0):
        """Waits until every connection that has not failed completed `more` further rounds; returns the report."""
        goal = (self.latest() or {"min_rounds": 0})["min_rounds"] + more
        return self.wait(lambda report: report["min_rounds"] >= goal, timeout,
                         f"{more} more rounds on every connection")

    def stop(self):
        """Stops it with SIGTERM and returns its last report."""
        self.daemon.stop()
        return self.latest()
