"""The groups of cases, each run by one program. Adding a group: a class here, a line in GROUPS."""

import json
import os
import tempfile
from fnmatch import fnmatch

from harness import plan, testpmd
from harness.build import run_program


class Group:
    """`cases`: name and what it measures. run() returns rows, those of the wanted cases only."""

    cases = {}

    def matching(self, patterns):
        return [name for name in self.cases if any(fnmatch(name, pattern) for pattern in patterns)]

    def run(self, build, options, patterns):
        raise NotImplementedError


def figures_of(program, arguments):
    """Runs a program that writes its figures with --json."""
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "figures.json")
        run_program([program, *arguments, "--json", out])
        with open(out, encoding="utf-8") as file:
            return json.load(file)


class PathGroup(Group):
    cases = {
        "path/local-to-fabric/pod": "settled connections to pods of another cluster, into the tunnel",
        "path/local-to-fabric/service": "settled connections to VIPs: translated, into the tunnel",
        "path/fabric-to-local/pod": "their replies, out of the tunnel",
        "path/fabric-to-local/service-reply": "replies of services: out of the tunnel, translation undone",
        "path/new-flow": "first packets of connections to VIPs, beside settled ones",
        "path/re-admit": "packets of settled connections whose decision no longer stands",
        "path/drop": "tunnel packets with a source outside the sender's cluster",
    }

    def run(self, build, options, patterns):
        which = "quick" if options.quick else "full" if options.full else "usual"
        workers = options.workers or list(range(1, min(2, len(os.sched_getaffinity(0))) + 1))
        wanted = plan.choose(which, patterns, workers)
        runs = options.runs or (5 if options.quick else 7)
        with tempfile.NamedTemporaryFile("w", suffix=".plan") as file:
            file.write(plan.text(wanted))
            file.flush()
            program = build.program("perf/path/perf-path-stages" if options.stages else "perf/path/perf-path")
            return figures_of(program, ["--plan", file.name, "--runs", str(runs)])


class ReferenceGroup(Group):
    cases = {"reference/testpmd-macswap": "DPDK's forwarder over null devices: receive, swap two addresses, send"}

    def run(self, build, options, patterns):
        return [testpmd.measure(options.runs or 3)]


GROUPS = [PathGroup(), ReferenceGroup()]
