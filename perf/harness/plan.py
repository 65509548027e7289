"""Which rows of the path's matrix a run measures: case, connections, order, frame, burst, buffers, workers."""

import itertools
from fnmatch import fnmatch

SETTLED = ["path/local-to-fabric/pod", "path/local-to-fabric/service", "path/fabric-to-local/pod",
           "path/fabric-to-local/service-reply"]
RARE = ["path/new-flow", "path/re-admit", "path/drop"]
PATH_CASES = SETTLED + RARE
CONNECTIONS = [1000, 100000, 1000000]
ORDERS = ["random", "zipf"]
FRAMES = ["64", "imix", "1500"]
BURSTS = [1, 8, 32, 64, 256]
BUFFERS = ["hot", "cold"]


def cross(cases, connections=(1000000,), orders=("random",), frames=("64",), bursts=(64,), buffers=("hot",),
          workers=(1,)):
    return list(itertools.product(cases, connections, orders, frames, bursts, buffers, workers))


def quick(workers):
    """The figures that goals are set for."""
    return cross(PATH_CASES, (1000, 1000000), workers=workers[:1]) + cross(
        ["path/local-to-fabric/service", "path/fabric-to-local/service-reply"], buffers=("cold",), workers=workers[:1])


def usual(workers):
    """Every value of every dimension, each dimension beside the middle of the others: some seven minutes."""
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
    """The whole matrix; hours. New and re-admitted connections have no order of their own."""
    return (cross(SETTLED, CONNECTIONS, ORDERS, FRAMES, BURSTS, BUFFERS, workers) +
            cross(RARE, CONNECTIONS, ("random",), FRAMES, BURSTS, BUFFERS, workers))


def choose(which, patterns, workers):
    """The rows of a plan whose case matches one of the patterns, each once, in order."""
    rows = {"quick": quick, "usual": usual, "full": full}[which](workers)
    wanted = [row for row in rows if any(fnmatch(row[0], pattern) for pattern in patterns)]
    return list(dict.fromkeys(wanted))


def text(rows):
    """The rows as perf-path reads them."""
    return "".join(" ".join(str(field) for field in row) + "\n" for row in rows)
