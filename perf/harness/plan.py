"""The rows of the path matrix that a run measures: case, connections, order, frame, burst, buffers, workers."""

import itertools
from fnmatch import fnmatch

SETTLED = ["path/local-to-fabric/pod", "path/local-to-fabric/service", "path/fabric-to-local/pod",
           "path/fabric-to-local/service-reply"]
RARE = ["path/new-flow", "path/revalidate", "path/drop"]
PATH_CASES = SETTLED + RARE
CONNECTIONS = [1000, 100000, 1000000]
ORDERS = ["random", "zipf"]
FRAMES = ["64", "imix", "1500"]
BURSTS = [1, 8, 32, 64]
BUFFERS = ["hot", "cold"]


def cross(cases, connections=(1000000,), orders=("random",), frames=("64",), bursts=(64,), buffers=("hot",),
          workers=(1,)):
    return list(itertools.product(cases, connections, orders, frames, bursts, buffers, workers))


def quick(workers):
    """The rows for which the README states goals or results."""
    return cross(PATH_CASES, (1000, 1000000), workers=workers[:1]) + cross(
        ["path/local-to-fabric/service", "path/fabric-to-local/service-reply"], buffers=("cold",), workers=workers[:1])


def usual(workers):
    """Every value of every dimension, varied one dimension at a time; about seven minutes."""
    services = ["path/local-to-fabric/service", "path/fabric-to-local/service-reply"]
    rows = cross(PATH_CASES, CONNECTIONS, workers=workers[:1])
    rows += cross(SETTLED, (1000, 1000000), buffers=BUFFERS, workers=workers[:1])
    rows += cross(SETTLED, (100000, 1000000), ("zipf",), workers=workers[:1])
    rows += cross(services, (1000, 1000000), frames=FRAMES, buffers=BUFFERS, workers=workers[:1])
    rows += cross(services, (1000, 1000000), bursts=BURSTS, workers=workers[:1])
    rows += cross(services, (1000, 1000000), workers=workers)
    rows += cross(["path/new-flow"], workers=workers)
    return rows


def full(workers):
    """The full matrix; hours. The order of connections applies to established connections only."""
    return (cross(SETTLED, CONNECTIONS, ORDERS, FRAMES, BURSTS, BUFFERS, workers) +
            cross(RARE, CONNECTIONS, ("random",), FRAMES, BURSTS, BUFFERS, workers))


def choose(which, patterns, workers):
    """The rows of plan `which` whose case matches a pattern, in order, without duplicates."""
    rows = {"quick": quick, "usual": usual, "full": full}[which](workers)
    selected = [row for row in rows if any(fnmatch(row[0], pattern) for pattern in patterns)]
    return list(dict.fromkeys(selected))


def text(rows):
    """The rows in the format of perf-path --plan."""
    return "".join(" ".join(str(field) for field in row) + "\n" for row in rows)
