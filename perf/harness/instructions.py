"""Instructions per packet of every path case, counted by callgrind and compared with the accepted counts."""

import glob
import json
import os
import re
import shutil
import subprocess
import tempfile

from harness.build import HarnessError

ACCEPTED = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "baseline", "instructions.json")
TOLERANCE = 0.05
HINT = "find the cause, or accept the counts with perf/baseline/accept and explain why in the commit"


def compiler():
    done = subprocess.run(["c++", "-dumpfullversion"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def count(program):
    """Runs perf-count under callgrind; returns {case: instructions per packet}."""
    if shutil.which("valgrind") is None:
        raise HarnessError("valgrind is not installed: apt-get install valgrind")
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(["valgrind", "--tool=callgrind", "--instr-atstart=no",
                               f"--callgrind-out-file={folder}/out", os.path.abspath(program)],
                              capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise HarnessError(f"{program} under valgrind: exit status {done.returncode}\n{done.stderr[-2000:]}")
        packets = {case: int(number) for case, number in (line.split() for line in done.stdout.splitlines())}
        counted = dict.fromkeys(packets, 0)
        for path in glob.glob(f"{folder}/out*"):
            with open(path, encoding="utf-8") as file:
                text = file.read()
            case = re.search(r"^desc: Trigger: Client Request: (\S+)", text, re.MULTILINE)
            total = re.search(r"^(?:summary|totals): (\d+)", text, re.MULTILINE)
            if case and total:
                counted[case.group(1)] += int(total.group(1))
    if not packets or not all(counted.values()):
        raise HarnessError(f"callgrind counted no instructions for {[case for case in packets if not counted[case]]}")
    return {case: counted[case] / packets[case] for case in packets}


def accepted():
    with open(ACCEPTED, encoding="utf-8") as file:
        return json.load(file)


def accept(program):
    """Counts, and saves the result as the accepted counts."""
    counts = count(program)
    with open(ACCEPTED, "w", encoding="utf-8") as file:
        json.dump({"compiler": compiler(), "build": "product",
                   "instructions_per_packet": {case: round(value, 1) for case, value in counts.items()}},
                  file, indent=1)
        file.write("\n")
    return counts


def is_over(before, now):
    return now / before - 1 > TOLERANCE


def count_against(program, before):
    """As count(); where a case is over its accepted count, the lower of two counts, since where keys fall in the tables
    makes a few per cent of difference."""
    counts = count(program)
    if any(is_over(before[case], now) for case, now in counts.items() if case in before):
        again = count(program)
        counts = {case: min(now, again.get(case, now)) for case, now in counts.items()}
    return counts


def compare(before, counts):
    """Returns (table lines, cases that are missing, new or grew by more than TOLERANCE)."""
    lines, failed = [], []
    for case in sorted(set(before) | set(counts)):
        was, now = before.get(case), counts.get(case)
        if was is None or now is None:
            lines.append(f"{case:36} {'new: no accepted count' if was is None else 'accepted, but no longer measured'}")
            failed.append(case)
            continue
        lines.append(f"{case:36} {was:9.1f} {now:9.1f} {100 * (now / was - 1):+7.1f} %")
        if is_over(was, now):
            failed.append(case)
    return lines, failed
