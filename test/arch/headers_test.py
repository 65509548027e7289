"""Every header compiles on its own, with the flags of its folder."""

import concurrent.futures
import os
import subprocess
import unittest

import source_tree

FLAGS = ["g++", "-std=c++20", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-march=x86-64-v2",
         '-DISTHMUS_VERSION="0"', f"-I{source_tree.ROOT}", "-x", "c++"]
DATAPLANE_FLAGS = ["-fno-exceptions", "-fno-rtti"]
# Compiled by clang for the BPF target only.
KERNEL_HEADERS = ("xdp/maps.h",)


def compile_alone(path, text=None):
    """Compiles a file that only includes the header (or `text`); returns the errors, '' if there are none."""
    flags = FLAGS + (DATAPLANE_FLAGS if path.startswith("dataplane/") else [])
    source = text if text is not None else f'#include "{path}"\n#include "{path}"\n'
    built = os.environ.get("ISTHMUS_BUILD")
    generated = [f"-I{built}/xdp", f"-I{built}"] if built else []
    done = subprocess.run([*flags, *generated, "-"], input=source, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else f"{path}:\n{done.stderr}"


class Headers(unittest.TestCase):
    def test_the_check_itself_detects_a_missing_include(self):
        self.assertNotEqual(compile_alone("some.h", "std::vector<int> numbers();\n"), "")

    def test_every_header_compiles_alone(self):
        headers = [path for path in source_tree.files(".h") if path not in KERNEL_HEADERS and "bpf" not in path]
        self.assertGreater(len(headers), 20)
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            errors = [text for text in pool.map(compile_alone, headers) if text]
        self.assertEqual("\n".join(errors), "")

    def test_every_header_has_pragma_once_and_starts_with_a_comment(self):
        wrong = []
        for path in source_tree.files(".h"):
            text = source_tree.read(path)
            if "#pragma once" not in text:
                wrong.append(f"{path}: no #pragma once")
            if not text.startswith(("//", "/*")):
                wrong.append(f"{path}: does not start with a comment that states its purpose")
        self.assertEqual(wrong, [])
