"""Traffic from real clients, and its results."""

import collections
import json
import os
import re
import tempfile
import time

from . import plan
from .fleet import PYTHON
from .shell import Undecided, wait_until

HERE = os.path.dirname(os.path.abspath(__file__))
NAME = f"web.shop.svc.{plan.DOMAIN}"
AT_ONCE = 8  # connections, of which each gateway of a cluster has some


def ping(netns, address, count=1, size=56, dont_fragment=False):
    """Round-trip times of `count` pings in ms; None if there was no reply."""
    flags = ["-M", "do"] if dont_fragment else []
    done = netns.run(["ping", "-n", "-c", str(count), "-i", "0.05", "-W", "2", "-s", str(size), *flags, address],
                     check=False)
    times = [float(text) for text in re.findall(r"time=([\d.]+) ms", done.stdout)]
    return times or None


def curl(netns, url, *options, timeout=5):
    """One request with curl, using the pod's resolver: (exit status, body, or the error message)."""
    done = netns.exec(["curl", "-sS", "--max-time", str(timeout), *options, url], check=False)
    return done.returncode, done.stdout if done.returncode == 0 else done.stderr


def _by_all(answered, what):
    """Whether all that was asked at once was answered; Undecided if some of it: a change reaches each gateway of a
    cluster by itself, and each connection has one of them."""
    if answered not in (0, AT_ONCE):
        raise Undecided(f"{what}: {answered} of {AT_ONCE} answered")
    return answered != 0


def answered_by_all(netns, url, timeout=1):
    """Whether requests are answered, whichever gateway they take."""
    done = netns.run(["curl", "-s", "-Z", "--parallel-immediate", "--max-time", str(timeout), "-o", "/dev/null",
                      "-w", "%{http_code}\n", f"{url}?[1-{AT_ONCE}]"], check=False)
    return _by_all(done.stdout.split().count("200"), url)


def pinged_through_all(netns, address):
    """Whether pings are answered, whichever gateway they take."""
    one = f"ping -n -c 1 -W 2 {address} > /dev/null && echo answered"
    done = netns.run(["sh", "-c", f"({one}) & " * AT_ONCE + "wait"], check=False)
    return _by_all(done.stdout.count("answered"), address)


def curl_many(netns, url, count, *options):
    """`count` requests with one curl, a connection each: responses by backend name; "-" counts failures."""
    done = netns.exec(["curl", "-s", "--max-time", "5", "-H", "Connection: close", *options, f"{url}?[1-{count}]"],
                      check=False, timeout=5 * count + 10)
    answers = collections.Counter(line.split()[0] for line in done.stdout.splitlines() if line)
    if sum(answers.values()) < count:
        answers["-"] = count - sum(answers.values())
    return answers


def resolves(netns, name=NAME):
    """The addresses that a pod's resolver returns for `name`."""
    done = netns.exec(["getent", "ahosts", name], check=False)
    return sorted({line.split()[0] for line in done.stdout.splitlines()})


class SteadyRequests:
    """Requests at a steady rate from one pod, a connection each, until stop()."""

    def __init__(self, netns, address, port, log, interval_ms=20):
        self.log = log
        self.daemon = netns.start("requests", [PYTHON, f"{HERE}/steady_requests.py", address, str(port),
                                               str(interval_ms)], log)

    def rows(self):
        """(start, duration, backend, error) of every finished request, by start; times as of time.monotonic()."""
        rows = []
        with open(self.log, encoding="utf-8") as file:
            for line in file:
                words = line.split()
                if len(words) == 4 and line.endswith("\n"):
                    rows.append((float(words[0]), float(words[1]), words[2], words[3]))
        return sorted(rows)

    def stop(self):
        self.daemon.stop()
        return self.rows()


def failover(rows, event):
    """Effect of a failure at time `event`: (failed requests, seconds until all requests succeed again)."""
    after = [row for row in rows if row[0] + row[1] >= event]
    failed = [row for row in after if row[3] != "-"]
    if not failed:
        return 0, 0.0
    last = failed[-1][0]
    good = [row[0] for row in after if row[0] > last]
    return len(failed), (good[0] if good else time.monotonic()) - event


def iperf(client, server, address, *options, timeout=60):
    """One run of iperf3 from pod to pod: what the receiver got, {"bytes", "bits_per_second", "seconds"...}."""
    with tempfile.NamedTemporaryFile(suffix=".log") as log:
        daemon = server.start("iperf3", ["iperf3", "-s", "-1", "-B", address, "--forceflush"], log.name)
        try:
            wait_until(lambda: "listening" in daemon.log_tail(), what="iperf3 listens")
            done = client.run(["iperf3", "-c", address, "-J", *options], timeout=timeout)
        finally:
            daemon.stop()
    return json.loads(done.stdout)["end"]["sum_received"]
