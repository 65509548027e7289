"""perf/run: chooses cases, runs their programs, reports. See --help."""

import argparse
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness import cases, machine, rows  # noqa: E402  (needs the path above)
from harness.build import Build, HarnessError  # noqa: E402


def positive(text):
    number = int(text) if text.isdigit() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is no number above 0")
    return number


def parse(argv):
    parser = argparse.ArgumentParser(
        prog="perf/run", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Builds Isthmus's benchmarks (release, in build-perf), runs them on this machine, prints a table.",
        epilog="""\
TSC cycles per packet, medians with their spread, each beside a reference measured in the same run. A packet that is
lost, or comes out wrong, ends the run with status 1. io/* needs root. perf/README.md explains cases and columns.""")
    parser.add_argument("--case", action="append", metavar="GLOB", help="only these cases ('path/*'); may be repeated")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true",
                      help="the most telling rows, some 3 minutes; the usual run takes some 10 minutes")
    size.add_argument("--full", action="store_true", help="the whole matrix of the path: hours")
    parser.add_argument("--workers", type=positive, action="append", metavar="N",
                        help="threads of the path cases; may be repeated (1 and, with two cores, 2)")
    parser.add_argument("--runs", type=positive, default=None, metavar="N", help="timed runs of a row (7; quick 5)")
    parser.add_argument("--stages", action="store_true", help="also the cycles of each stage of the path")
    parser.add_argument("--json", metavar="FILE", help="write the figures, and the machine they come from, to FILE")
    parser.add_argument("--compare", metavar="OLD.json", help="show the change against the figures of an earlier run")
    parser.add_argument("--build", metavar="DIR", help="use the programs of this build directory")
    parser.add_argument("--list", action="store_true", help="show the cases and what they measure")
    return parser.parse_args(argv)


def run(options):
    if options.list:
        for group in cases.GROUPS:
            for name, text in group.cases.items():
                print(f"{name:36} {text}")
        return 0
    old = rows.read(options.compare) if options.compare else None
    patterns = options.case or ["*"]
    groups = [group for group in cases.GROUPS if group.matching(patterns)]
    if not groups:
        raise HarnessError(f"no case is called {' or '.join(patterns)}; perf/run --list shows them")
    build = Build(options.build)
    build.prepare()
    here = machine.describe()
    figures = []
    for group in groups:
        figures += [rows.complete(row) for row in group.run(build, options, patterns)]
    for row in figures:
        here.setdefault("tsc_mhz", row.pop("tsc_mhz", 0))
        row.pop("tsc_mhz", None)
    for row in figures:
        row["machine"] = here
    print(machine.line(here) + "\n")
    print(rows.table(figures))
    if old is not None:
        print("\n" + rows.compare(old, figures))
    if options.json:
        rows.write(figures, options.json)
    return 0


def main(argv):
    try:
        return run(parse(argv))
    except HarnessError as error:
        print(f"perf/run: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
