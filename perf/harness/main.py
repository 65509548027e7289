"""perf/run: selects cases, runs their programs and reports the results. See --help."""

import argparse
import os
import signal
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness import cases, machine, rows  # noqa: E402  (needs the path above)
from harness.build import Build, HarnessError  # noqa: E402


def positive(text):
    number = int(text) if text.isdigit() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a positive number")
    return number


def parse(argv):
    parser = argparse.ArgumentParser(
        prog="perf/run", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Builds the benchmarks (in build/, with packaging/build), runs them and prints a table.",
        epilog="""\
Figures are medians and ranges of TSC cycles per packet, with the ratio to a reference measured in the same run. A lost
or wrong packet ends the run with status 1. io/* needs root. perf/README.md explains cases and columns.""")
    parser.add_argument("--case", action="append", metavar="GLOB",
                        help="run only matching cases ('path/*'); repeatable")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true",
                      help="the most important rows, about 3 minutes (default run: about 10 minutes)")
    size.add_argument("--full", action="store_true", help="the full matrix of path cases; takes hours")
    parser.add_argument("--workers", type=positive, action="append", metavar="N",
                        help="worker threads of the path cases; repeatable (default: 1 and, with two cores, 2)")
    parser.add_argument("--runs", type=positive, default=None, metavar="N",
                        help="timed runs per row (default: 7; with --quick 5)")
    parser.add_argument("--stages", action="store_true", help="also report the cycles of each stage of the path")
    parser.add_argument("--json", metavar="FILE", help="write the figures and a description of the machine to FILE")
    parser.add_argument("--compare", metavar="OLD.json", help="also compare with the figures of an earlier run")
    parser.add_argument("--build", metavar="DIR", help="use the programs in this build directory")
    parser.add_argument("--list", action="store_true", help="list the cases and what they measure")
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
        raise HarnessError(f"no case matches {' or '.join(patterns)}; perf/run --list shows all cases")
    build = Build(options.build)
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
    # Ended like that, too, it takes away what it has set up.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        return run(parse(argv))
    except HarnessError as error:
        print(f"perf/run: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
