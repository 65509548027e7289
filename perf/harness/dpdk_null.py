"""The whole path over null devices of DPDK, beside memory devices in the same minutes."""

import statistics
import subprocess

CASE = "io/dpdk-null"
DRIVER = "net_null"
PATHS = ["path/local-to-fabric/pod", "path/local-to-fabric/service", "path/fabric-to-local/pod",
         "path/fabric-to-local/service-reply"]
FLOWS = 1000


def _once(program, figures_of, driver):
    """Cycles per packet of each case, of one run."""
    cases = [word for case in PATHS for word in ("--case", case)]
    rows = figures_of(program, [*cases, "--connections", str(FLOWS), "--runs", "1",
                                *(["--over", driver] if driver else [])])
    return {row["case"]: row["cycles_per_packet"]["median"] for row in rows}


def measure(build, figures_of, runs):
    """A row for each case: its median over null devices, and what part of the memory devices' rate that is, turn by
    turn."""
    if subprocess.run(["pkg-config", "--exists", "libdpdk"], check=False).returncode != 0:
        return [{"case": CASE, "device": DRIVER, "skipped": "DPDK is not installed: apt-get install libdpdk-dev"}]
    build.program("dataplane/isthmus-dpdk.so")
    program = build.program("perf/path/perf-path")
    turns = [(_once(program, figures_of, None), _once(program, figures_of, DRIVER)) for _ in range(runs)]
    rows = []
    for case in PATHS:
        cycles = [over[case] for _, over in turns]
        rows.append({"case": CASE, "variation": case.removeprefix("path/"), "device": DRIVER, "flows": FLOWS,
                     "frame_bytes": 64, "burst": 64, "buffers": "hot", "workers": 1,
                     "cycles_per_packet": {"median": statistics.median(cycles), "min": min(cycles),
                                           "max": max(cycles), "runs": runs},
                     "reference": "memory devices",
                     "ratio_to_reference": statistics.median(memory[case] / over[case] for memory, over in turns)})
    return rows
