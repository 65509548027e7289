"""test/run: the suites in order, by name. See --help."""

import argparse
import os
import signal
import sys
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
sys.path.insert(0, os.path.dirname(HERE))

from runner import python_tests  # noqa: E402  (needs the path above)
from runner.build import VARIANTS, WARNING, Build, BuildError, ProductBuild  # noqa: E402
from runner.lane import Lane  # noqa: E402
from runner.programs import area, kind, run_program  # noqa: E402
from runner.report import Report  # noqa: E402

# Areas whose promises are about threads: run under ThreadSanitizer too. gRPC is not instrumented, so etcd is not one.
TSAN_AREAS = ("conntrack", "conntrack-stress", "dataplane", "io", "observe", "policy", "source", "admin",
              "kubernetes-source")
# With --full once more, longer.
LONG_AREAS = ("xdp-differential",)
LONG_ARGUMENTS = ("--packets=5000000", "--fleets=400", "--seed=1000")
# End-to-end tests that publish, tell of flows and change policies all the time, with every thread of a gateway.
TSAN_FLEET_TESTS = ("policy_test", "flows_test")
FLEET_PROGRAMS = ("control/cli/isthmus", "dataplane/isthmus-dpdk.so")
# End-to-end tests that a gateway under AddressSanitizer is quick enough for.
ASAN_FLEET_TESTS = ("fleet_test", "errors_test", "kernel_peer_test")
SUITES = ("product", "arch", "unit", "packaging", "golden", "perf", "netns", "install", "interop", "boots", "asan",
          "tsan", "lto")
# Where the Python tests of a suite are, if not in test/<suite>.
FOLDERS = {"packaging": "packaging/checks", "boots": "packaging/boots"}
FLEET_TOOLS = ("test/netns/fleet-load", "test/netns/api-server")
# Programs of the unit tests' build that interop runs on other kernels.
KERNEL_PROGRAMS = ("test/unit/xdp/unit-xdp", "test/unit/xdp/differential/xdp-differential", "test/netns/io/netns-io")
# Programs of the product build beside the gateway, by the suite that needs them.
PRODUCT_PROGRAMS = {
    "golden": ("test/golden/make-pcap",),
    "perf": ("perf/path/perf-path", "perf/path/perf-reload", "perf/path/perf-count", "perf/traffic/traffic",
             "perf/micro/maglev-quality"),
    "netns": FLEET_TOOLS,
    "asan": FLEET_TOOLS,
    "tsan": FLEET_TOOLS,
    "interop": ("test/interop/follow-hub", "test/interop/policy-answers"),
}


def parse(argv):
    parser = argparse.ArgumentParser(
        prog="test/run", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Builds Isthmus and runs its tests. Needs root (network namespaces, AF_XDP).",
        epilog="""\
suites:
  product    the build that users make, without a warning; golden, perf, netns and interop test it
  arch       include directions, headers that compile alone, formatting, names, documents
  unit       the GoogleTest programs, built with assertions
  packaging  packaging/checks: units, man pages, completions, chart, alerts, documents
  golden     packets of the path, checked by an independent dissector
  perf       the benchmark harness, its page, and instructions per packet
  netns      the fleet in network namespaces, end to end
  install    the README's first command from a clean copy of the tree, and from nothing in a minimal Debian
with --full, or named, also:
  lto        the product with link-time optimization, every source by itself, -Wodr
  interop    others' code: Cilium's store code on a real etcd, Hubble's command line, a real Kubernetes API server,
             policies decided by Cilium's and Cyclonus' code, and cilium-agent as a peer and beside a gateway; needs
             Go and the module proxy. Debian's kernel in a virtual machine; needs qemu and the kernel's package. The
             chart by Helm itself, and the image as a node runs it, with the chart's rights; needs crun, buildah and
             kubectl, too
  boots      packaging/boots: packages built twice and installed in a Debian that boots
with --full also:
  asan       unit and most of netns under AddressSanitizer and UndefinedBehaviorSanitizer
  tsan       engine, publishing, flows, policy, admin socket, Kubernetes source, and gateways in the fleet under
             ThreadSanitizer
arch, packaging, unit and install run at low priority beside golden, perf and netns.
a NAME is a part of a test's name as it is printed: unit/conntrack, netns/failover, Maglev""")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only tests whose name contains one of these")
    parser.add_argument("--quick", action="store_true", help="product, arch, unit, golden and perf only")
    parser.add_argument("--full", action="store_true", help="all suites, also those that need a build of their own")
    parser.add_argument("--sanitize", metavar="CHECKS", choices=("address,undefined", "thread"),
                        help="use a build with these checks (address,undefined or thread) for unit and netns")
    return parser.parse_args(argv)


class Suites:
    """The suites of one run; `wanted(name)` is the choice made on the command line."""

    def __init__(self, options):
        self.options = options
        self.report = Report()
        self.product = ProductBuild(ROOT)
        self.builds = {variant: Build(ROOT, variant) for variant in VARIANTS}
        self.lane = None
        self.main = {None: "unit", "address,undefined": "asan", "thread": "tsan"}[options.sanitize]

    def wanted(self, name):
        return not self.options.names or any(part in name for part in self.options.names)

    def may_hold(self, prefix):
        """Whether a suite can hold a wanted test: false only if every name clearly belongs to another suite."""
        heads = [name.split("/")[0] for name in self.options.names]
        return not heads or any(head not in SUITES or head == prefix for head in heads)

    def build_product(self):
        """The program and what tests it, and that nothing in it is warned of."""
        targets = [target for suite, programs in PRODUCT_PROGRAMS.items() if self.may_hold(suite) and self.runs(suite)
                   for target in programs]
        os.environ["ISTHMUS_BUILD"] = self.product.folder
        os.environ["ISTHMUS_PROGRAM"] = self.product.program
        self.report.section("product: packaging/build")
        begun = time.monotonic()
        self.product.build(dict.fromkeys([*FLEET_PROGRAMS, *targets]))
        name = "product/builds without a warning"
        if self.product.warnings:
            self.report.fail(name, "\n".join(self.product.warnings))
        elif self.wanted(name):
            self.report.ok(name, time.monotonic() - begun)

    def run_programs(self, report, prefix, variant, kinds=("unit",), areas=None, arguments=()):
        """The programs of some kinds (and areas only), built in that variant, with more arguments."""
        if not self.may_hold(prefix):
            return
        build = self.builds[variant]
        report.section(f"{prefix}: build {os.path.basename(build.folder)}")
        tests = [test for test in build.tests() if kind(test) in kinds and (areas is None or area(test) in areas)]
        if areas is None:
            build.ninja()
        else:
            build.ninja(sorted({os.path.relpath(test["cmd"][0], build.folder) for test in tests}))
        report.section(prefix)
        for test in tests:
            run_program(report, prefix, {**test, "cmd": [*test["cmd"], *arguments]}, self.wanted)

    def run_python(self, report, prefix, folder=None, variant=None, modules=None):
        """The Python tests of a folder (FOLDERS), on the product, or on the program of another variant."""
        if not self.may_hold(prefix.split("/")[0]):
            return
        report.section(prefix)
        if variant:
            self.builds[variant].ninja(FLEET_PROGRAMS)
        os.environ["ISTHMUS_PROGRAM"] = self.builds[variant].program if variant else self.product.program
        # The tests read where the programs are when they are loaded.
        for name in [name for name in sys.modules if name.endswith("_test") or name == "fleet_case"]:
            del sys.modules[name]
        where = os.path.join(ROOT, FOLDERS.get(prefix) or f"test/{folder or prefix}")
        python_tests.run(report, prefix, where, self.wanted, modules)

    def runs(self, suite):
        """Whether this run has that suite."""
        if suite in ("netns", "install"):
            return not self.options.quick
        return (suite not in ("interop", "boots", "lto", "asan", "tsan") or self.options.full
                or any(name.startswith(suite) for name in self.options.names))

    def beside(self, report):
        """What neither measures nor has a clock to meet, at low priority beside the end-to-end tests."""
        steps = [lambda: self.run_python(report, "arch"), lambda: self.run_python(report, "packaging"),
                 lambda: self.run_programs(report, "unit", self.main)]
        if self.runs("install"):
            steps.append(lambda: self.run_python(report, "install"))
        self.run_steps(report, steps)

    def run_all(self):
        if not self.run_steps(self.report, [self.build_product]):
            return  # everything else stands on it
        lane = self.lane = Lane(self.report, self.beside)
        fleet = None if self.main == "unit" else self.main
        report = self.report
        self.run_steps(report, [lambda suite=suite: self.run_python(report, suite, variant=fleet)
                                for suite in ("golden", "perf", "netns") if self.runs(suite)])
        lane.wait()
        self.lane = None
        steps = []
        if self.runs("interop"):
            steps.append(lambda: self.run_interop(fleet))
        if self.runs("boots"):
            steps.append(lambda: self.run_python(report, "boots"))
        if self.runs("netns"):
            steps.append(lambda: self.run_programs(report, "netns", self.main, ("netns",)))
        if self.runs("lto"):
            steps.append(self.build_lto)
        if self.options.full:
            steps += [self.run_long, lambda: self.run_programs(report, "asan", "asan", ("unit", "netns")),
                      lambda: self.run_python(report, "asan/fleet", "netns", "asan", ASAN_FLEET_TESTS),
                      lambda: self.run_programs(report, "tsan", "tsan", areas=TSAN_AREAS),
                      lambda: self.run_python(report, "tsan/fleet", "netns", "tsan", TSAN_FLEET_TESTS)]
        self.run_steps(report, steps)

    def run_long(self):
        """Millions of packets through the kernel's programs and through the engine."""
        if self.may_hold("unit"):
            self.run_programs(self.report, "unit", self.main, areas=LONG_AREAS, arguments=LONG_ARGUMENTS)

    def run_interop(self, fleet):
        """Others' code, and ours on others' kernels. After the lane, which builds in the same folder."""
        if self.may_hold("interop"):
            self.builds["unit"].ninja(KERNEL_PROGRAMS)
            os.environ["ISTHMUS_UNIT_BUILD"] = self.builds["unit"].folder
        self.run_python(self.report, "interop", variant=fleet)

    def build_lto(self):
        """Every source by itself at -O3, and the whole program linked at once: no warning, no type defined twice."""
        if not self.may_hold("lto"):
            return
        self.report.section("lto")
        begun = time.monotonic()
        text = self.builds["lto"].ninja(FLEET_PROGRAMS)
        warnings = [line for line in text.splitlines() if WARNING.match(line)]
        if warnings:
            self.report.fail("lto/builds without a warning", "\n".join(warnings))
        else:
            self.report.ok("lto/builds without a warning", time.monotonic() - begun)

    @staticmethod
    def run_steps(report, steps):
        """Runs them all; False if a build failed."""
        good = True
        for step in steps:
            try:
                step()
            except BuildError as error:
                report.fail("build", str(error))
                good = False
        return good


def main(argv):
    sys.dont_write_bytecode = True
    suites = Suites(parse(argv))
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        suites.run_all()
    except BaseException:  # the closing line is written whatever happens
        suites.report.fail("runner", traceback.format_exc())
        if suites.lane is not None:
            suites.lane.stop()
    if not (suites.report.passed or suites.report.failed or suites.report.skipped):
        print(f"No test has a name with {' or '.join(suites.options.names)} in it.", file=sys.stderr)
    return suites.report.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
