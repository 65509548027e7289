"""The groups of benchmark cases, one program each. To add a group, add a class and an entry in GROUPS."""

import json
import os
import re
import shutil
import tempfile
from fnmatch import fnmatch

from harness import dpdk_null, plan, pods, testpmd
from harness.build import output_of, run_program

# A line of io-bench --bursts: size of the rings, cores, and lengths of bursts with the share that was lost.
BURSTS = re.compile(r"^(rings-\d+) +(one core|two cores), lost of bursts of(.*)$", re.MULTILINE)
BURST = re.compile(r"(\d+): (-?[\d.]+) %")
# A result line of io-bench: subject, rate, ratio to the reference, and the interquartile range of the ratio.
RATE = re.compile(r"^(.{24}) +([\d.]+) Mpps.* ([\d.]+) x bare \(([\d.]+) to ([\d.]+)\)$", re.MULTILINE)


class Group:
    """`cases`: name and description. run() returns the rows of the cases that match `patterns`."""

    cases = {}

    def matching(self, patterns):
        return [name for name in self.cases if any(fnmatch(name, pattern) for pattern in patterns)]

    def run(self, build, options, patterns):
        raise NotImplementedError


def figures_of(program, arguments):
    """Runs a program with --json and returns the rows that it wrote."""
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "figures.json")
        run_program([program, *arguments, "--json", out])
        with open(out, encoding="utf-8") as file:
            return json.load(file)


class PathGroup(Group):
    cases = {
        "path/local-to-fabric/pod": "established connections to pods of another cluster, into the tunnel",
        "path/local-to-fabric/service": "established connections to VIPs: translated, into the tunnel",
        "path/fabric-to-local/pod": "their replies, out of the tunnel",
        "path/fabric-to-local/service-reply": "replies of services: out of the tunnel, translated back",
        "path/new-flow": "first packets of connections to VIPs, in a table of established ones",
        "path/revalidate": "packets of established connections whose cached decision is stale",
        "path/drop": "tunnel packets with a source outside the sender's cluster",
    }

    def run(self, build, options, patterns):
        which = "quick" if options.quick else "full" if options.full else "usual"
        workers = options.workers or list(range(1, min(2, len(os.sched_getaffinity(0))) + 1))
        selected = plan.choose(which, patterns, workers)
        runs = options.runs or (5 if options.quick else 7)
        with tempfile.NamedTemporaryFile("w", suffix=".plan") as file:
            file.write(plan.text(selected))
            file.flush()
            program = build.program("perf/path/perf-path-stages" if options.stages else "perf/path/perf-path")
            return figures_of(program, ["--plan", file.name, "--runs", str(runs)])


class ProgramGroup(Group):
    """A program that selects cases with --case."""

    program = ""

    def arguments(self, options):
        raise NotImplementedError

    def run(self, build, options, patterns):
        chosen = [word for name in self.matching(patterns) for word in ("--case", name)]
        return figures_of(build.program(self.program), chosen + self.arguments(options))


class TableGroup(ProgramGroup):
    program = "perf/micro/perf-table"
    cases = {
        "table/lookup": "lookup, check and accounting of a packet of an established connection, bursts of 64",
        "table/lookup-miss": "lookup of a key that is not in the table",
        "table/insert": "insertion and removal of a connection",
        "table/revalidate": "a new decision for an established connection",
        "table/aging": "aging: slots visited, none expired",
    }

    def arguments(self, options):
        sizes = ["1000", "1000000"] if options.quick else ["1000", "100000", "1000000"]
        return ["--runs", str(options.runs or (3 if options.quick else 7)), "--connections", *sizes]


class ChangeGroup(ProgramGroup):
    program = "perf/path/perf-reload"
    cases = {
        "reload": "packets lost while services, endpoints and policies are published continuously (goal: 0)",
        "policy/settled": "established connections with 10,000 policy entries, against the same without",
        "flood/syn": "100,000 connections under a SYN flood: no packet lost, half-open limit and aging effective",
    }

    def arguments(self, options):
        return ["--seconds", "2" if options.quick else "10"]


class HubGroup(Group):
    cases = {"hub": "a gateway and a fleet in etcd: time to sync, memory, latency from a write to the first packet"}

    def run(self, build, options, patterns):
        if shutil.which("etcd") is None:
            return [{"case": "hub", "device": "memory",
                     "skipped": "etcd is not installed: apt-get install etcd-server"}]
        sizes = ["10000", "100000"] if options.quick else ["10000", "100000", "1000000"]
        return figures_of(build.program("perf/hub/perf-hub"),
                          ["--seconds", "5" if options.quick else "20", "--endpoints", *sizes])


class QualityGroup(Group):
    cases = {"quality/maglev": "Maglev's balance and disruption against the optimum"}

    def run(self, build, options, patterns):
        return figures_of(build.program("perf/micro/maglev-quality"), [])


class DpdkGroup(Group):
    cases = {dpdk_null.CASE: "the whole path over null devices of DPDK, against memory devices"}

    def run(self, build, options, patterns):
        return dpdk_null.measure(build, figures_of, options.runs or (3 if options.quick else 7))


class ReferenceGroup(Group):
    cases = {"reference/testpmd-macswap": "DPDK testpmd over null devices: receive, swap MAC addresses, send"}

    def run(self, build, options, patterns):
        return [testpmd.measure(options.runs or 3)]


class IoGroup(Group):
    """Frames over veth pairs in a separate network namespace: the gateway, the kernel and a bare forwarder."""

    cases = {
        "io/af_xdp": "the whole path over AF_XDP on veth, against a bare AF_XDP forwarder",
        "io/af_xdp/variations": "the same with other ring sizes, busy polling and memory, one row each",
        "io/af_xdp/bursts": "frames lost of bursts that come faster than the whole path forwards them, by ring size",
        "io/kernel": "the kernel with nftables DNAT and a VXLAN device on the same veth pairs",
    }
    names = {"path": "io/af_xdp", "kernel gw": "io/kernel", "bare": "reference/bare-af_xdp",
             "device": "reference/af_xdp-device", "kernel": "reference/kernel-forwarding",
             "pump only": "reference/pump"}

    def run(self, build, options, patterns):
        selected = self.matching(patterns)
        if os.geteuid() != 0:
            return [{"case": name, "device": "veth", "skipped": "needs root"} for name in selected]
        runs = options.runs or (3 if options.quick else 7)
        rows = []
        if set(selected) - {"io/af_xdp/variations", "io/af_xdp/bursts"}:
            rows += [self.row(self.names[subject], *figures) for subject, *figures in self.turns(build, [], 5 * runs)]
        if "io/af_xdp/variations" in selected:
            rows += [{**self.row("io/af_xdp/variations", *figures), "variation": subject}
                     for subject, *figures in self.turns(build, ["--vary"], 3 * runs) if subject != "bare"]
        if "io/af_xdp/bursts" in selected:
            rows += self.bursts(output_of([build.program("perf/io/io-bench"), "--bursts"]))
        return [row for row in rows if row["case"] in selected or row["case"] not in self.cases]

    @staticmethod
    def bursts(text):
        return [{"case": "io/af_xdp/bursts", "variation": f"{rings} {cores}", "device": "veth", "frame_bytes": 60,
                 "measures": {f"% lost of bursts of {length}": float(lost) for length, lost in BURST.findall(shares)}}
                for rings, cores, shares in BURSTS.findall(text)]

    @staticmethod
    def turns(build, flags, count):
        text = output_of([build.program("perf/io/io-bench"), *flags, "0.1", str(count)])
        return [(subject.strip(), *map(float, figures)) for subject, *figures in RATE.findall(text)]

    @staticmethod
    def row(case, mpps, ratio, low, high):
        return {"case": case, "device": "veth", "flows": 64, "frame_bytes": 60, "workers": 1, "mpps": mpps,
                "reference": "bare AF_XDP forwarder", "ratio_to_reference": ratio,
                "measures": {"half of the ratios within": f"{low:.3f} to {high:.3f}"}}


class SettledGroup(Group):
    """Settled flows over the veth pairs of IoGroup, in XDP, in user space and by the kernel."""

    cases = {
        "io/xdp/vxlan/to-fabric": "settled flows to pods of another cluster, handed down to XDP: into the tunnel",
        "io/xdp/vxlan/from-fabric": "their replies: out of the tunnel",
        "io/xdp/service/to-fabric": "settled flows to a service: translated, into the tunnel",
        "io/xdp/service/from-fabric": "their replies: out of the tunnel, translated back",
        "io/xdp/hand-down": "64 k new flows: how soon a gateway has handed them down, CPU time of the thread",
        "io/xdp/maps": "the kernel's maps of these flows: memory, and CPU time to fill and empty them",
        "io/xdp/reload": "handed down, while services, endpoints and a policy are published (goal: 0 lost)",
        "io/xdp/flood": "handed down, beside a flood of connections without a reply (goal: 0 lost)",
        "io/xdp/new-flows": "100,000 short connections a second: what hand-down adds to their cost",
        "io/xdp/helper-calls": "an XDP program with and without helper calls: what the machine's mitigations cost",
    }

    def run(self, build, options, patterns):
        selected = self.matching(patterns)
        if os.geteuid() != 0:
            return [{"case": name, "device": "veth", "skipped": "needs root"} for name in selected]
        flows = ["1024"] if options.quick else ["1024", "65536", "1048576"]
        runs = options.runs or (5 if options.quick else 15)
        chosen = [word for name in selected for word in ("--case", name)]
        return figures_of(build.program("perf/settled/perf-settled"),
                          [*chosen, "--flows", *flows, "--runs", str(runs)])


class PodsGroup(Group):
    """Two pods at two nodes: through gateways, and through the kernel alone."""

    cases = {
        pods.UDP: "a request and its answer over UDP, through two gateways, handed down and not; the kernel's VXLAN",
        pods.TCP: "the same over a TCP connection that lasts",
        pods.STREAM: "a TCP stream through two gateways, beside the kernel's VXLAN with offloads on and off",
        pods.JUMBO: "the same over an underlay with an MTU of 9,000",
    }

    def run(self, build, options, patterns):
        selected = self.matching(patterns)
        if os.geteuid() != 0:
            return [{"case": name, "device": "veth", "skipped": "needs root"} for name in selected]
        programs = build.program("perf/pods/perf-pods"), build.program("control/cli/isthmus")
        return pods.measure(selected, programs, options.runs or (3 if options.quick else 5), options.quick)


GROUPS = [PathGroup(), TableGroup(), ChangeGroup(), HubGroup(), QualityGroup(), IoGroup(),
          SettledGroup(), PodsGroup(), DpdkGroup(), ReferenceGroup()]
