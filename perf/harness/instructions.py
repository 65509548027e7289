"""Instructions per packet of every path case, counted by callgrind, held against the accepted figures."""

import glob
import json
import os
import re
import shutil
import subprocess
import tempfile

from harness.build import HarnessError

ACCEPTED = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "baseline", "instructions.json")
TOLERATED = 0.05
REMEDY = "find what grew, or accept it with perf/baseline/accept and say why in the commit"


def compiler():
    done = subprocess.run(["c++", "-dumpfullversion"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def count(program):
    """Case and instructions per packet, of a run of perf-count."""
    if shutil.which("valgrind") is None:
        raise HarnessError("valgrind is not installed: apt-get install valgrind")
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(["valgrind", "--tool=callgrind", "--instr-atstart=no",
                               f"--callgrind-out-file={folder}/out", os.path.abspath(program)],
                              capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise HarnessError(f"{program} under valgrind: exit {done.returncode}\n{done.stderr[-2000:]}")
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
        raise HarnessError(f"callgrind counted nothing for {[case for case in packets if not counted[case]]}")
    return {case: counted[case] / packets[case] for case in packets}


def accepted():
    with open(ACCEPTED, encoding="utf-8") as file:
        return json.load(file)


def accept(program):
    """Writes the counts of today as the accepted ones."""
    counts = count(program)
    with open(ACCEPTED, "w", encoding="utf-8") as file:
        json.dump({"compiler": compiler(), "build": "debugoptimized",
                   "instructions_per_packet": {case: round(value, 1) for case, value in counts.items()}},
                  file, indent=1)
        file.write("\n")
    return counts


def compare(before, counts):
    """Lines for people, and the cases that grew by more than is tolerated or are new or gone."""
    lines, wrong = [], []
    for case in sorted(set(before) | set(counts)):
        was, now = before.get(case), counts.get(case)
        if was is None or now is None:
            lines.append(f"{case:36} {'new: not accepted yet' if was is None else 'gone, but accepted'}")
            wrong.append(case)
            continue
        change = now / was - 1
        lines.append(f"{case:36} {was:9.1f} {now:9.1f} {100 * change:+7.1f} %")
        if change > TOLERATED:
            wrong.append(case)
    return lines, wrong
