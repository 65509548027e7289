"""The programs that figures are taken from: those of the product build (packaging/build)."""

import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class HarnessError(RuntimeError):
    """What a user can act on; perf/run prints it and ends with status 1."""


class Build:
    """The product build, or a build directory that the user made."""

    def __init__(self, folder=None):
        self.product = folder is None
        self.folder = os.path.abspath(folder or os.environ.get("BUILD_DIR") or os.path.join(ROOT, "build"))
        self._built = set()
        if not self.product and not os.path.exists(os.path.join(self.folder, "build.ninja")):
            raise HarnessError(f"{self.folder} is no build directory; make one with 'meson setup', or leave out "
                               "--build")

    def program(self, path):
        """Builds a program, named by its path in the build directory, and returns where it is."""
        if path not in self._built:
            tool = [os.path.join(ROOT, "packaging", "build")] if self.product else ["ninja", "-C", self.folder]
            print(f"building {path} ...", file=sys.stderr, flush=True)
            # What it installs and builds is progress, not the figures, which go to the output.
            if subprocess.run([*tool, path], stdout=sys.stderr, check=False).returncode:
                raise HarnessError(f"{path} cannot be built; see above")
            self._built.add(path)
        return os.path.join(self.folder, path)


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
