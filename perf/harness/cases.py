"""The groups of cases, each run by one program. Adding a group: a class here, a line in GROUPS."""

import json
import os
import re
import shutil
import tempfile
from fnmatch import fnmatch

from harness import plan, testpmd
from harness.build import output_of, run_program

# A line of io-bench: what, its rate, its ratio and the range of the ratio's middle two quarters.
RATE = re.compile(r"^(.{24}) +([\d.]+) Mpps.* ([\d.]+) x bare \(([\d.]+) to ([\d.]+)\)$", re.MULTILINE)


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


class ProgramGroup(Group):
    """A program whose --case takes our patterns."""

    program = ""

    def arguments(self, options):
        raise NotImplementedError

    def run(self, build, options, patterns):
        chosen = [word for name in self.matching(patterns) for word in ("--case", name)]
        return figures_of(build.program(self.program), chosen + self.arguments(options))


class TableGroup(ProgramGroup):
    program = "perf/micro/perf-table"
    cases = {
        "table/lookup": "lookup, check and count of a settled packet, bursts of 64",
        "table/lookup-miss": "lookup of what is not there",
        "table/insert": "a connection's birth and death beside others",
        "table/re-admit": "a new decision for a settled connection",
        "table/janitor": "slots visited by the sweep, none expired",
    }

    def arguments(self, options):
        sizes = ["1000", "1000000"] if options.quick else ["1000", "100000", "1000000"]
        return ["--runs", str(options.runs or (3 if options.quick else 7)), "--connections", *sizes]


class ChangeGroup(ProgramGroup):
    program = "perf/path/perf-reload"
    cases = {
        "reload": "packets lost while services, endpoints and policies are published without pause: goal 0",
        "policy/settled": "settled connections with 10,000 policy entries, beside the same without",
        "flood/syn": "100,000 live connections beside a flood of new ones: they lose nothing, quota and janitor hold",
    }

    def arguments(self, options):
        return ["--seconds", "2" if options.quick else "10"]


class HubGroup(Group):
    cases = {"hub": "a gateway that follows a fleet in a real etcd: sync, memory, from a write to the first packet"}

    def run(self, build, options, patterns):
        if shutil.which("etcd") is None:
            return [{"case": "hub", "device": "memory", "skipped": "no etcd: apt-get install etcd-server"}]
        sizes = ["10000", "100000"] if options.quick else ["10000", "100000", "1000000"]
        return figures_of(build.program("perf/hub/perf-hub"),
                          ["--seconds", "5" if options.quick else "20", "--endpoints", *sizes])


class QualityGroup(Group):
    cases = {"quality/maglev": "Maglev's balance and disruption beside the optimum"}

    def run(self, build, options, patterns):
        return figures_of(build.program("perf/micro/maglev-quality"), [])


class ReferenceGroup(Group):
    cases = {"reference/testpmd-macswap": "DPDK's forwarder over null devices: receive, swap two addresses, send"}

    def run(self, build, options, patterns):
        return [testpmd.measure(options.runs or 3)]


class IoGroup(Group):
    """Frames over veth pairs in a namespace of the program's own: our gateway, the kernel, and a bare forwarder."""

    cases = {
        "io/af_xdp": "the whole path over AF_XDP on veth, beside a bare AF_XDP forwarder",
        "io/af_xdp/variations": "the same with rings, busy polling and memory of other kinds, one row each",
        "io/kernel": "the kernel with nftables DNAT and a VXLAN device on the same veth pairs",
    }
    names = {"path": "io/af_xdp", "kernel gw": "io/kernel", "bare": "reference/bare-af_xdp",
             "device": "reference/af_xdp-device", "kernel": "reference/kernel-forwarding",
             "pump only": "reference/pump"}

    def run(self, build, options, patterns):
        wanted = self.matching(patterns)
        if os.geteuid() != 0:
            return [{"case": name, "device": "veth", "skipped": "needs root"} for name in wanted]
        runs = options.runs or (3 if options.quick else 7)
        rows = []
        if set(wanted) - {"io/af_xdp/variations"}:
            rows += [self.row(self.names[what], *figures) for what, *figures in self.turns(build, [], 5 * runs)]
        if "io/af_xdp/variations" in wanted:
            rows += [{**self.row("io/af_xdp/variations", *figures), "variation": what}
                     for what, *figures in self.turns(build, ["--vary"], 3 * runs) if what != "bare"]
        return [row for row in rows if row["case"] in wanted or row["case"] not in self.cases]

    @staticmethod
    def turns(build, choices, number):
        text = output_of([build.program("perf/io/io-bench"), *choices, "0.1", str(number)])
        return [(what.strip(), *map(float, figures)) for what, *figures in RATE.findall(text)]

    @staticmethod
    def row(case, mpps, ratio, low, high):
        return {"case": case, "device": "veth", "flows": 64, "frame_bytes": 60, "workers": 1, "mpps": mpps,
                "reference": "bare AF_XDP forwarder", "ratio_to_reference": ratio,
                "measures": {"half of the ratios within": f"{low:.3f} to {high:.3f}"}}


GROUPS = [PathGroup(), TableGroup(), ChangeGroup(), HubGroup(), QualityGroup(), IoGroup(), ReferenceGroup()]
