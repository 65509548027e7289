"""The repository's layout, file names and formatting."""

import os
import re
import subprocess
import unittest

import source_tree

TOP = {"dataplane", "xdp", "control", "config", "perf", "test", "packaging", ".ci"}
DATAPLANE = {"api", "base", "conntrack", "encap", "fragments", "handdown", "io", "net", "originate", "packet", "path",
             "publish", "report", "slowpath", "stats", "tables", "worker"}
MARKERS = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")


def scripts(*interpreters):
    """The files that name one of them in their first line."""
    found = []
    for path in source_tree.files(""):
        with open(os.path.join(source_tree.ROOT, path), "rb") as file:
            first = file.readline(80).decode("utf-8", "replace").strip()
        if first.startswith("#!") and re.split(r"[/ ]", first)[-1] in interpreters:
            found.append(path)
    return found


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
        for path in dict.fromkeys([*source_tree.files(".py"), *scripts("python3")]):
            text = source_tree.read(path)
            compile(text, path, "exec")
            self.assertEqual([number for number, line in enumerate(text.splitlines(), 1) if len(line) > 120], [], path)

    def test_shell_sources_parse(self):
        found = scripts("bash", "sh")
        self.assertIn("packaging/build", found)
        for path in found:
            done = subprocess.run(["bash", "-n", os.path.join(source_tree.ROOT, path)], capture_output=True, text=True,
                                  check=False)
            self.assertEqual(done.returncode, 0, done.stderr)

    def test_what_names_its_interpreter_can_be_run(self):
        # dpkg makes a package's own scripts executable.
        wrong = [path for path in scripts("bash", "sh", "python3") if not path.startswith("packaging/deb/debian/")
                 and not os.access(os.path.join(source_tree.ROOT, path), os.X_OK)]
        self.assertEqual(wrong, [])


if __name__ == "__main__":
    unittest.main()
