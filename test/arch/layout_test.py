"""The repository's layout, file names and formatting."""

import os
import re
import subprocess
import unittest

import source_tree

TOP = {"dataplane", "xdp", "control", "config", "perf", "test", "packaging", ".ci"}
DATAPLANE = {"api", "base", "conntrack", "encap", "handdown", "io", "net", "originate", "packet", "path", "publish",
             "report", "slowpath", "stats", "tables", "worker"}
MARKERS = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")


class Layout(unittest.TestCase):
    def test_the_top_level_has_only_known_folders(self):
        found = {path.split("/")[0] for path in source_tree.files("") if "/" in path}
        self.assertEqual(found - TOP, set())

    def test_the_dataplane_has_only_known_folders(self):
        found = {path.split("/")[1] for path in source_tree.files(".h", ".cc", under="dataplane/")}
        self.assertEqual(found - DATAPLANE, set())

    def test_file_names_are_snake_case(self):
        wrong = [path for path in source_tree.files(".h", ".cc", ".c", ".py")
                 if not re.fullmatch(r"[a-z0-9_]+(\.bpf)?\.\w+", os.path.basename(path))]
        self.assertEqual(wrong, [])

    def test_the_readme_names_every_top_folder(self):
        readme = source_tree.read("README.md")
        self.assertEqual([folder for folder in sorted(TOP - {".ci"}) if f"{folder}/" not in readme], [])

    def test_there_are_no_markers_of_unfinished_work(self):
        wrong = [path for path in source_tree.files(".h", ".cc", ".c", ".py", ".build", ".md")
                 if MARKERS.search(source_tree.read(path))]
        self.assertEqual(wrong, [])

    def test_every_source_is_part_of_the_build(self):
        builds = "\n".join(source_tree.read(path) for path in source_tree.files("meson.build"))
        wrong = [path for path in source_tree.files(".cc") if os.path.basename(path) not in builds]
        self.assertEqual(wrong, [])

    def test_sources_are_formatted(self):
        sources = source_tree.files(".h", ".cc", ".c")
        done = subprocess.run(["clang-format", "--dry-run", "-Werror", *sources], cwd=source_tree.ROOT,
                              capture_output=True, text=True, check=False)
        wrong = sorted({line.split(":")[0] for line in done.stderr.splitlines() if "clang-format-violations" in line})
        self.assertEqual(wrong, [])
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_python_sources_compile_and_fit_the_width(self):
        for path in source_tree.files(".py"):
            text = source_tree.read(path)
            compile(text, path, "exec")
            self.assertEqual([number for number, line in enumerate(text.splitlines(), 1) if len(line) > 120], [], path)

    def test_shell_sources_parse(self):
        for path in ("packaging/build", "packaging/install-dependencies", "packaging/quickstart", "test/run",
                     ".ci/run"):
            done = subprocess.run(["bash", "-n", os.path.join(source_tree.ROOT, path)], capture_output=True, text=True,
                                  check=False)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertTrue(os.access(os.path.join(source_tree.ROOT, path), os.X_OK), path)
