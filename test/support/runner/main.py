"""test/run: the suites in order, by name. See --help."""

import argparse
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
sys.path.insert(0, os.path.dirname(HERE))

from runner import python_tests  # noqa: E402  (needs the path above)
from runner.build import Build, BuildError  # noqa: E402
from runner.programs import area, kind, run_program  # noqa: E402
from runner.report import Report  # noqa: E402

# Areas whose promises are about threads: run under ThreadSanitizer too. gRPC is not instrumented, so etcd is not one.
TSAN_AREAS = ("flow", "flow-stress", "dataplane", "io", "observe", "policy", "source", "admin", "kubernetes-source")
# End-to-end tests that publish, tell of flows and change policies all the time, with every thread of a gateway.
TSAN_FLEET_TESTS = ("policy_test", "flows_test")
FLEET_PROGRAMS = ("control/cli/isthmus",)
# End-to-end tests that a gateway under AddressSanitizer is quick enough for.
ASAN_FLEET_TESTS = ("fleet_test", "errors_test", "kernel_peer_test")
PYTHON_SUITES = ("arch", "golden", "perf", "netns", "interop")


def parse(argv):
    parser = argparse.ArgumentParser(
        prog="test/run", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Builds Isthmus and runs its tests. Needs root (network namespaces, AF_XDP).",
        epilog="""\
suites, in order:
  arch     include directions, headers that compile alone, formatting
  unit     the GoogleTest programs
  golden   packets of the path, checked by an independent dissector
  perf     the benchmark harness and its page
  netns    the fleet in network namespaces, end to end
with --full, or named, also:
  interop  others' code: Cilium's store code on a real etcd, Hubble's command line, a real Kubernetes API server;
           needs Go and the module proxy
with --full also:
  asan     unit and most of netns under AddressSanitizer and UndefinedBehaviorSanitizer
  tsan     engine, publishing, flows, policy, admin socket, Kubernetes source, and gateways in the fleet under
           ThreadSanitizer
a NAME is a part of a test's name as it is printed: unit/flow, netns/failover, Maglev""")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only tests whose name contains one of these")
    parser.add_argument("--quick", action="store_true", help="arch, unit, golden and perf only")
    parser.add_argument("--full", action="store_true", help="all suites, also those that need a build of their own")
    parser.add_argument("--sanitize", metavar="CHECKS", choices=("address,undefined", "thread"),
                        help="use a build with these checks (address,undefined or thread) for unit and netns")
    return parser.parse_args(argv)


class Suites:
    """The suites of one run; `wanted(name)` is the choice made on the command line."""

    def __init__(self, options):
        self.options = options
        self.report = Report()
        self.builds = {variant: Build(ROOT, variant) for variant in ("plain", "asan", "tsan")}
        self.main = {None: "plain", "address,undefined": "asan", "thread": "tsan"}[options.sanitize]

    def wanted(self, name):
        return not self.options.names or any(part in name for part in self.options.names)

    def may_hold(self, prefix):
        """Whether a suite can hold a wanted test: false only if every name clearly belongs to another suite."""
        heads = [name.split("/")[0] for name in self.options.names]
        known = ("unit", "asan", "tsan", *PYTHON_SUITES)
        return not heads or any(head not in known or head == prefix for head in heads)

    def run_programs(self, prefix, variant, kinds=("unit",), areas=None):
        """The programs of some kinds (and areas only), built in that variant."""
        if not self.may_hold(prefix):
            return
        build = self.builds[variant]
        self.report.section(f"{prefix}: build {os.path.basename(build.folder)}")
        tests = [test for test in build.tests() if kind(test) in kinds and (areas is None or area(test) in areas)]
        if areas is None:
            build.ninja()
        else:
            build.ninja(sorted({os.path.relpath(test["cmd"][0], build.folder) for test in tests}))
        for test in tests:
            run_program(self.report, prefix, test, self.wanted)

    def run_python(self, prefix, folder=None, variant=None, modules=None, programs=()):
        """The Python tests of test/<folder>, with the programs of that variant (all, or those they need)."""
        if not self.may_hold(prefix.split("/")[0]):
            return
        build = self.builds[variant or self.main]
        self.report.section(prefix)
        build.ninja(programs)
        os.environ["ISTHMUS_BUILD"] = build.folder
        # The tests read where the programs are when they are loaded.
        for name in [name for name in sys.modules if name.endswith("_test") or name == "fleet_case"]:
            del sys.modules[name]
        python_tests.run(self.report, prefix, os.path.join(ROOT, "test", folder or prefix), self.wanted, modules)

    def run_all(self):
        steps = [lambda: self.run_programs("unit", self.main), lambda: self.run_python("arch"),
                 lambda: self.run_python("golden"), lambda: self.run_python("perf")]
        if not self.options.quick:
            steps += [lambda: self.run_programs("netns", self.main, ("netns",)), lambda: self.run_python("netns")]
        if self.options.full or any(name.startswith("interop") for name in self.options.names):
            steps.append(lambda: self.run_python("interop"))
        if self.options.full:
            steps += [lambda: self.run_programs("asan", "asan", ("unit", "netns")),
                      lambda: self.run_python("asan/fleet", "netns", "asan", ASAN_FLEET_TESTS),
                      lambda: self.run_programs("tsan", "tsan", areas=TSAN_AREAS),
                      lambda: self.run_python("tsan/fleet", "netns", "tsan", TSAN_FLEET_TESTS, FLEET_PROGRAMS)]
        for step in steps:
            try:
                step()
            except BuildError as error:
                self.report.fail("build", str(error))


def main(argv):
    sys.dont_write_bytecode = True
    suites = Suites(parse(argv))
    suites.run_all()
    if not (suites.report.passed or suites.report.failed or suites.report.skipped):
        print(f"No test has a name with {' or '.join(suites.options.names)} in it.", file=sys.stderr)
    return suites.report.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
