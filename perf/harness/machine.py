"""Description of the machine on which figures were measured; part of every report."""

import glob
import os
import platform
import subprocess


def _read(path, default=""):
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().strip()
    except OSError:
        return default


def _cpu_field(name):
    for line in _read("/proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""


def _caches():
    found = {}
    for folder in sorted(glob.glob("/sys/devices/system/cpu/cpu0/cache/index*")):
        kind = {"Data": "d", "Instruction": "i"}.get(_read(f"{folder}/type"), "")
        found[f"L{_read(f'{folder}/level')}{kind}"] = _read(f"{folder}/size")
    return found


def _huge_pages():
    pages = {}
    for folder in sorted(glob.glob("/sys/kernel/mm/hugepages/hugepages-*")):
        pages[os.path.basename(folder).removeprefix("hugepages-")] = int(_read(f"{folder}/nr_hugepages", "0") or 0)
    transparent = _read("/sys/kernel/mm/transparent_hugepage/enabled")
    chosen = transparent[transparent.find("[") + 1:transparent.find("]")] if "[" in transparent else "absent"
    return {"reserved": pages, "transparent": chosen}


def _compiler():
    try:
        return subprocess.run(["c++", "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        return ""


def describe():
    """CPU, caches, huge pages, kernel and load. The programs measure the TSC's frequency themselves."""
    return {
        "cpu": _cpu_field("model name") or platform.processor(),
        "cpu_family_model": f"{_cpu_field('cpu family')}/{_cpu_field('model')}",
        "cores": len(os.sched_getaffinity(0)),
        "virtual": "hypervisor" in _cpu_field("flags").split(),
        "cache": _caches(),
        "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
        "huge_pages": _huge_pages(),
        "kernel": platform.release(),
        "compiler": _compiler(),
        "load": list(os.getloadavg()),
    }


def line(machine):
    """One-line summary."""
    cache = " ".join(f"{name} {size}" for name, size in machine["cache"].items())
    rate = f", TSC {machine['tsc_mhz']:.0f} MHz" if "tsc_mhz" in machine else ""
    return (f"{machine['cpu']} ({machine['cores']} cores{', virtual' if machine['virtual'] else ''}){rate}, {cache}, "
            f"Linux {machine['kernel']}, load {machine['load'][0]:.2f}")
