"""Build directories, one per variant of the compiler's checks."""

import json
import os
import subprocess

# Line numbers only: the compiler takes a quarter less time. The code is what --buildtype=debugoptimized makes.
PLAIN = ["--buildtype=debugoptimized", "-Ddebug=false", "-Dcpp_args=-g1"]
# Little optimization and line numbers only: half the time of a full debug build, and reports name their lines.
# Warnings are errors in the plain build; instrumented code makes GCC see some that are not there.
# The dataplane has no run-time type information, which the check of virtual tables needs.
SANITIZED = ["--buildtype=debug", "-Doptimization=1", "-Ddebug=false", "-Dcpp_args=-g1 -fno-sanitize=vptr",
             "-Dwerror=false", "-Dperf=false", "-Db_lundef=false"]
# Variant: build folder, options of meson. All of them build the tests, the first the benchmarks too.
VARIANTS = {
    "plain": ("build-test", PLAIN),
    "asan": ("build-asan", [*SANITIZED, "-Db_sanitize=address,undefined"]),
    "tsan": ("build-tsan", [*SANITIZED, "-Db_sanitize=thread"]),
}


class BuildError(RuntimeError):
    """The build failed; the text is what the tools wrote."""


class Build:
    """One build directory under `root` (or under $ISTHMUS_TEST_BUILDS)."""

    def __init__(self, root, variant):
        folder, self.options = VARIANTS[variant]
        self.root = root
        self.variant = variant
        self.folder = os.path.join(os.environ.get("ISTHMUS_TEST_BUILDS", root), folder)
        self._built = set()

    def configure(self):
        if not os.path.exists(os.path.join(self.folder, "build.ninja")):
            self._run(["meson", "setup", self.folder, self.root, *self.options])

    def ninja(self, targets=()):
        """Builds the targets (all by default), once per run."""
        key = tuple(targets)
        if key in self._built:
            return
        self.configure()
        self._run(["ninja", "-C", self.folder, *targets])
        self._built.add(key)

    def tests(self):
        """The tests that meson knows: dictionaries with name, cmd and env."""
        self.configure()
        done = self._run(["meson", "introspect", "--tests", self.folder])
        return json.loads(done)

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    @property
    def program(self):
        """The gateway's program."""
        return self.path("control", "cli", "isthmus")

    def _run(self, args):
        done = subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode != 0:
            raise BuildError(f"{' '.join(args)}: exit {done.returncode}\n{done.stdout}")
        return done.stdout
