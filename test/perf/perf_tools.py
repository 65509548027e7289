"""Shared by the tests of the benchmark harness. Importing it makes perf/harness importable."""

import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("ISTHMUS_BUILD", os.path.join(ROOT, "build"))
sys.path.insert(0, os.path.join(ROOT, "perf"))

from harness import rows  # noqa: E402  (needs the path above)


def perf(tool, *arguments):
    return subprocess.run([os.path.join(ROOT, "perf", tool), *arguments], capture_output=True, text=True, check=False)


def row(case="path/x", median=100.0, **more):
    return rows.complete({"case": case, "device": "memory", "flows": 1000, "burst": 64,
                          "cycles_per_packet": {"median": median, "min": median - 1, "max": median + 1, "runs": 3},
                          "mpps": 1.0, **more})
