"""Every header compiles on its own, with the flags of its folder.

Most of the time goes into what headers include, and many include the same. So some that many include are precompiled,
and a header is compiled behind the largest of those which it includes itself, in the end: nothing is there that it
would not see alone.
"""

import concurrent.futures
import functools
import os
import re
import subprocess
import tempfile
import unittest

import source_tree

FLAGS = ["g++", "-std=c++20", "-Wall", "-Wextra", "-Werror", "-march=x86-64-v2", '-DISTHMUS_VERSION="0"',
         f"-I{source_tree.ROOT}"]
DATAPLANE_FLAGS = ["-fno-exceptions", "-fno-rtti"]
# Compiled by clang for the BPF target only.
KERNEL_HEADERS = ("xdp/maps.h",)
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"][^>"]+)[>"]', re.MULTILINE)
# What it takes to precompile a header, in times of what it takes to read it.
PRECOMPILE = 2.5


def kind_of(path):
    """Headers of a kind are compiled with the same flags."""
    if path.startswith("dataplane/io/dpdk/"):
        return "dpdk"
    return "dataplane" if path.startswith("dataplane/") else "other"


@functools.cache
def dpdk_flags():
    """The compiler's for DPDK, whose headers are the system's; [] where it is not installed."""
    done = subprocess.run(["pkg-config", "--cflags", "libdpdk"], capture_output=True, text=True, check=False)
    return [re.sub("^-I", "-isystem", flag) for flag in done.stdout.split() if not flag.startswith("-march")]


def flags_of(kind):
    built = os.environ.get("ISTHMUS_BUILD")
    return [*FLAGS, *(DATAPLANE_FLAGS if kind != "other" else []), *(dpdk_flags() if kind == "dpdk" else []),
            *([f"-I{built}/xdp", f"-I{built}"] if built else [])]


def compile_alone(path, text=None, behind=None):
    """Compiles a file that only includes the header (or `text`), behind a precompiled one; the errors, or ''."""
    source = text if text is not None else f'#include "{path}"\n#include "{path}"\n'
    before = ["-include", behind] if behind else []
    done = subprocess.run([*flags_of(kind_of(path)), "-fsyntax-only", *before, "-x", "c++", "-"], input=source,
                          capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else f"{path}:\n{done.stderr}"


class Includes:
    """Who includes what. Headers are named as in the source: "config/x.h for ours, <vector for the system's."""

    def __init__(self):
        self.known = {}

    def of(self, header):
        """The header and all that it includes, in the end: names, or paths of the system's files."""
        if header not in self.known:
            self.known[header] = frozenset()  # of a circle, which does not end
            path = os.path.join(source_tree.ROOT, header[1:])
            names = {header}
            if header[0] == "<":
                done = subprocess.run(["g++", "-std=c++20", "-M", "-x", "c++", "-"], input=f"#include {header}>\n",
                                      capture_output=True, text=True, check=False)
                names.update(done.stdout.replace("\\\n", " ").split()[1:])
            elif os.path.exists(path):
                names.update({path}, *(self.of(name) for name in INCLUDE.findall(source_tree.read(header[1:]))))
            self.known[header] = frozenset(names)
        return self.known[header]

    def bytes_of(self, header):
        """How much a compiler reads for it."""
        return sum(os.path.getsize(name) for name in self.of(header) if name[0] == "/")


def choose(includes, headers):
    """Those that are worth being precompiled for these headers."""
    missing = {header: includes.of(f'"{header}') for header in headers}
    size = {name: includes.bytes_of(name) for name in set().union(*missing.values()) if name[0] in '"<'}
    saved = dict.fromkeys(headers, 0)
    users = {name: [header for header in headers if name in missing[header] and name != f'"{header}']
             for name in size}
    chosen = []
    while True:
        def gain(name):
            return sum(max(0, size[name] - saved[header]) for header in users[name]) - PRECOMPILE * size[name]
        best = max(size, key=gain, default=None)
        if best is None or gain(best) <= 0:
            return sorted(chosen, key=size.get, reverse=True)
        chosen.append(best)
        for header in users[best]:
            saved[header] = max(saved[header], size[best])


class Headers(unittest.TestCase):
    def test_the_check_itself_detects_a_missing_include(self):
        self.assertNotEqual(compile_alone("some.h", "std::vector<int> numbers();\n"), "")

    def test_the_check_itself_is_behind_no_more_than_the_header_includes(self):
        includes = Includes()
        self.assertIn('"dataplane/base/result.h', includes.of('"dataplane/packet/frame.h'))
        self.assertNotIn('"dataplane/packet/frame.h', includes.of('"dataplane/base/result.h'))

    def test_every_header_compiles_alone(self):
        headers = [path for path in source_tree.files(".h") if path not in KERNEL_HEADERS and "bpf" not in path]
        self.assertGreater(len(headers), 20)
        errors = []
        with tempfile.TemporaryDirectory(prefix="ist-headers-") as folder, \
             concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            for kind in ("dataplane", "other", *(["dpdk"] if dpdk_flags() else [])):
                errors += self.compile_kind(kind, [path for path in headers if kind_of(path) == kind], folder, pool)
        self.assertEqual("\n".join(errors), "")

    def compile_kind(self, kind, headers, folder, pool):
        """The errors of headers of one kind."""
        includes = Includes()
        chosen = choose(includes, headers)
        place = {name: os.path.join(folder, kind, f"{number}.h") for number, name in enumerate(chosen)}
        os.makedirs(os.path.join(folder, kind), exist_ok=True)

        def precompile(name):
            with open(place[name], "w", encoding="utf-8") as file:
                file.write(f"#include {name}{'>' if name[0] == '<' else chr(34)}\n")
            return subprocess.run([*flags_of(kind), "-x", "c++-header", place[name], "-o", f"{place[name]}.gch"],
                                  capture_output=True, text=True, check=False).stderr

        def compile_behind(header):
            included = includes.of(f'"{header}')
            behind = next((place[name] for name in chosen if name in included and name != f'"{header}'), None)
            return compile_alone(header, behind=behind)

        return [text for text in [*pool.map(precompile, chosen), *pool.map(compile_behind, headers)] if text]

    def test_every_header_has_pragma_once_and_starts_with_a_comment(self):
        wrong = []
        for path in source_tree.files(".h"):
            text = source_tree.read(path)
            if "#pragma once" not in text:
                wrong.append(f"{path}: no #pragma once")
            if not text.startswith(("//", "/*")):
                wrong.append(f"{path}: does not start with a comment that states its purpose")
        self.assertEqual(wrong, [])
