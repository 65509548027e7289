"""DPDK testpmd in macswap mode over null devices: the cost of a poll-mode driver that touches every frame."""

import os
import re
import shutil
import statistics
import subprocess
import time

CASE = "reference/testpmd-macswap"
BURST = 64
CYCLES = re.compile(r"CPU cycles/packet=([\d.]+)")
PACKETS = re.compile(r"Accumulated forward statistics.*?RX-total: (\d+)", re.DOTALL)


def _skipped(reason):
    return {"case": CASE, "device": "net_null", "skipped": reason}


def _command(cores):
    # One core for the command line, one for forwarding; with a single core they share it.
    lcores = f"0@{cores[0]},1@{cores[-1]}"
    return ["dpdk-testpmd", "--no-huge", "-m", "256", "--no-pci", "--no-shconf", "--no-telemetry", "--iova-mode=va",
            "--lcores", lcores, "--vdev=net_null0,copy=0", "--vdev=net_null1,copy=0", "--", "--forward-mode=macswap",
            "--auto-start", "--no-mlockall", "--total-num-mbufs=8192", f"--burst={BURST}", "--record-core-cycles",
            "--record-burst-stats"]


def _once(seconds):
    with subprocess.Popen(_command(sorted(os.sched_getaffinity(0))), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True) as child:
        try:
            time.sleep(seconds)
            out, _ = child.communicate("\n", timeout=30)  # a line of input makes it print statistics and exit
        except subprocess.TimeoutExpired:
            child.kill()
            return None, "did not exit when asked to"
    found = CYCLES.search(out)
    if child.returncode != 0 or not found:
        return None, " ".join(out.strip().splitlines()[-1:]) or f"exit {child.returncode}"
    return float(found.group(1)), None


def measure(runs):
    """A row with the median of `runs`, or a row with the reason why it was skipped."""
    if shutil.which("dpdk-testpmd") is None:
        return _skipped("dpdk-testpmd is not installed: apt-get install dpdk dpdk-dev")
    values = []
    for _ in range(runs):
        value, error = _once(1.5)
        if value is None:
            return _skipped(f"dpdk-testpmd: {error}")
        values.append(value)
    return {"case": CASE, "device": "net_null", "frame_bytes": 64, "burst": BURST, "buffers": "hot", "workers": 1,
            "cycles_per_packet": {"median": statistics.median(values), "min": min(values), "max": max(values),
                                  "runs": runs}}
