"""Builds third-party programs from the Go modules in this folder. Those that are in the folder $ISTHMUS_GO_PROGRAMS,
by name, are taken as they are, and so are the sources of modules."""

import os
import shutil
import subprocess
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))


def build(into, name, module, package=".", flags=()):
    """Builds a package of the module in folder `module` as `into`/`name`; skips the tests without Go or modules."""
    built = os.path.join(os.environ.get("ISTHMUS_GO_PROGRAMS", "/nonexistent"), name)
    if os.path.exists(built):
        return built
    if not shutil.which("go"):
        raise unittest.SkipTest("go is not installed")
    folder = os.path.join(HERE, module)
    fetched = subprocess.run(["go", "mod", "download"], cwd=folder, capture_output=True, text=True, check=False)
    if fetched.returncode != 0:
        raise unittest.SkipTest(f"the Go modules cannot be fetched: {fetched.stderr.strip()[:200]}")
    program = os.path.join(into, name)
    subprocess.run(["go", "build", "-p", "2", *flags, "-o", program, package], cwd=folder, check=True)
    return program


def sources(module, path):
    """The folder of the sources of a module, by its path, that the module in folder `module` needs."""
    there = os.path.join(os.environ.get("ISTHMUS_GO_PROGRAMS", "/nonexistent"), path)
    if os.path.isdir(there):
        return there
    return subprocess.run(["go", "list", "-m", "-f", "{{.Dir}}", path], cwd=os.path.join(HERE, module), check=True,
                          capture_output=True, text=True).stdout.strip()
