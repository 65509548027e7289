"""The release build that figures are taken from: build-perf, without the tests."""

import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# Other compilers see other warnings: no reason to withhold figures from who has them.
OPTIONS = ["--buildtype=release", "-Dtests=false", "-Dwerror=false"]


class HarnessError(RuntimeError):
    """What a user can act on; perf/run prints it and ends with status 1."""


class Build:
    """One build directory: ours, or one that the user made."""

    def __init__(self, folder=None):
        self.ours = folder is None
        self.folder = os.path.abspath(folder) if folder else os.path.join(ROOT, "build-perf")
        self._built = set()

    def prepare(self):
        """Installs packages and configures the build, where that has not been done."""
        if not self.ours:
            if not os.path.exists(os.path.join(self.folder, "build.ninja")):
                raise HarnessError(f"{self.folder} is no build directory; make one with 'meson setup', or leave out "
                                   "--build")
            return
        # Says itself what is missing and what to do.
        if subprocess.run([os.path.join(ROOT, "packaging", "install-dependencies"), "build"], check=False).returncode:
            raise HarnessError("packages are missing")
        if not os.path.exists(os.path.join(self.folder, "build.ninja")):
            self._run(["meson", "setup", self.folder, ROOT, *OPTIONS])

    def program(self, path):
        """Builds a program, named by its path in the build directory, and returns where it is."""
        if path not in self._built:
            print(f"building {path} ...", file=sys.stderr, flush=True)
            self._run(["ninja", "-C", self.folder, path])
            self._built.add(path)
        return os.path.join(self.folder, path)

    @staticmethod
    def _run(args):
        done = subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode != 0:
            raise HarnessError(f"{' '.join(args)}: exit {done.returncode}\n{done.stdout}")


def run_program(args, timeout=3600):
    """Runs a benchmark program, its output going to the terminal's error stream. Ends with its message if it fails."""
    try:
        done = subprocess.run(args, stdout=sys.stderr, stderr=subprocess.PIPE, text=True, check=False, timeout=timeout)
    except subprocess.TimeoutExpired:
        raise HarnessError(f"{os.path.basename(args[0])}: no end after {timeout} s") from None
    if done.returncode != 0:
        raise HarnessError(f"{os.path.basename(args[0])} failed:\n{done.stderr.strip()}")


def output_of(args, timeout=600):
    """What a program wrote, which is shown too. Ends with its message if it fails."""
    try:
        done = subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False,
                              timeout=timeout)
    except subprocess.TimeoutExpired:
        raise HarnessError(f"{os.path.basename(args[0])}: no end after {timeout} s") from None
    print(done.stdout, file=sys.stderr, end="", flush=True)
    if done.returncode != 0:
        raise HarnessError(f"{os.path.basename(args[0])} failed:\n{done.stderr.strip()}")
    return done.stdout
