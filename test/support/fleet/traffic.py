"""Traffic by real clients, and what came of it."""

import collections
import os
import re
import time

from . import plan
from .fleet import PYTHON

HERE = os.path.dirname(os.path.abspath(__file__))
NAME = f"web.shop.svc.{plan.DOMAIN}"


def ping(space, address, count=1, size=56, dont_fragment=False):
    """Round trips of `count` pings in ms, or None if none was answered."""
    flags = ["-M", "do"] if dont_fragment else []
    done = space.run(["ping", "-n", "-c", str(count), "-i", "0.05", "-W", "2", "-s", str(size), *flags, address],
                     check=False)
    times = [float(text) for text in re.findall(r"time=([\d.]+) ms", done.stdout)]
    return times or None


def curl(space, url, *options, timeout=5):
    """One request by curl, resolving names as the pod does: (exit status, body)."""
    done = space.exec(["curl", "-sS", "--max-time", str(timeout), *options, url], check=False)
    return done.returncode, done.stdout if done.returncode == 0 else done.stderr


def curl_many(space, url, count, *options):
    """`count` requests by one curl, each on a connection of its own: answers per backend name; "-" counts failures."""
    done = space.exec(["curl", "-s", "--max-time", "5", "-H", "Connection: close", *options, f"{url}?[1-{count}]"],
                      check=False, timeout=5 * count + 10)
    answers = collections.Counter(line.split()[0] for line in done.stdout.splitlines() if line)
    if sum(answers.values()) < count:
        answers["-"] = count - sum(answers.values())
    return answers


def resolves(space, name=NAME):
    """The addresses a pod's resolver knows for `name`."""
    done = space.exec(["getent", "ahosts", name], check=False)
    return sorted({line.split()[0] for line in done.stdout.splitlines()})


class SteadyRequests:
    """Requests at a steady rate from one pod, each on a connection of its own, until stop()."""

    def __init__(self, space, address, port, log, interval_ms=20):
        self.log = log
        self.daemon = space.start("requests", [PYTHON, f"{HERE}/steady_requests.py", address, str(port),
                                               str(interval_ms)], log)

    def rows(self):
        """(start, duration, backend, error) of every request that has ended, by start; times are time.monotonic()."""
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
    """What a loss at time `event` did: (failed requests, seconds until requests began that all succeeded)."""
    after = [row for row in rows if row[0] + row[1] >= event]
    failed = [row for row in after if row[3] != "-"]
    if not failed:
        return 0, 0.0
    last = failed[-1][0]
    good = [row[0] for row in after if row[0] > last]
    return len(failed), (good[0] if good else time.monotonic()) - event
