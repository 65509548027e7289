"""Build directories: the product's, and one per variant of the compiler's checks."""

import json
import os
import re
import subprocess

# One cache serves every clone and build folder: paths are taken relative to the tree.
CACHE = {"CCACHE_NOHASHDIR": "1"}
# Line numbers only: the compiler takes a quarter less time. The code is what --buildtype=debugoptimized makes.
UNIT = ["--buildtype=debugoptimized", "-Ddebug=false", "-Dcpp_args=-g1", "-Dwerror=true", "-Dtests=true"]
# Little optimization and line numbers only: half the time of a full debug build, and reports name their lines.
# Instrumented code makes GCC see warnings that are not there.
# The dataplane has no run-time type information, which the check of virtual tables needs.
SANITIZED = ["--buildtype=debug", "-Doptimization=1", "-Ddebug=false", "-Dcpp_args=-g1 -fno-sanitize=vptr",
             "-Dtests=true", "-Db_lundef=false"]
# Variant: build folder, options of meson.
VARIANTS = {
    "unit": ("build-test", UNIT),
    "asan": ("build-asan", [*SANITIZED, "-Db_sanitize=address,undefined"]),
    "tsan": ("build-tsan", [*SANITIZED, "-Db_sanitize=thread"]),
    # Each source by itself, and the whole program seen at once: missing includes, and types that differ (-Wodr).
    "lto": ("build-lto", ["--buildtype=release", "--unity=off", "-Db_lto=true", "-Dwerror=true", "-Dcpp_args=-Wodr",
                          "-Dcpp_link_args=-Wodr"]),
}
WARNING = re.compile(r"^\S+:\d+(:\d+)?: warning: |^[^ ]*ld: warning: ", re.MULTILINE)


class BuildError(RuntimeError):
    """The build failed; the text is what the tools wrote."""


def environment(root):
    return dict(os.environ, CCACHE_BASEDIR=root, **CACHE)


def run(args, env):
    """Output of a command that must succeed; BuildError with what it wrote otherwise."""
    done = subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, env=env)
    if done.returncode != 0:
        raise BuildError(f"{' '.join(args)}: exit {done.returncode}\n{done.stdout}")
    return done.stdout


class ProductBuild:
    """What packaging/build makes: the program that the end-to-end tests test, and the programs that test it."""

    def __init__(self, root):
        self.root = root
        self.folder = os.path.abspath(os.environ.get("BUILD_DIR") or os.path.join(root, "build"))
        self.warnings = []
        self._built = set()

    def build(self, targets):
        missing = [target for target in targets if target not in self._built]
        if missing:
            text = run([os.path.join(self.root, "packaging", "build"), *missing], dict(os.environ))
            self.warnings += [line for line in text.splitlines() if WARNING.match(line)]
            self._built.update(missing)

    @property
    def program(self):
        return os.path.join(self.folder, "control", "cli", "isthmus")


class Build:
    """One build directory under `root` (or under $ISTHMUS_TEST_BUILDS)."""

    def __init__(self, root, variant):
        folder, self.options = VARIANTS[variant]
        self.root = root
        self.folder = os.path.join(os.environ.get("ISTHMUS_TEST_BUILDS", root), folder)
        self._built = set()

    def configure(self):
        if not os.path.exists(os.path.join(self.folder, "build.ninja")):
            run(["meson", "setup", self.folder, self.root, *self.options], environment(self.root))

    def ninja(self, targets=()):
        """Builds the targets (all by default), once per run; returns what the tools wrote."""
        key = tuple(targets)
        if key in self._built:
            return ""
        self.configure()
        text = run(["ninja", "-C", self.folder, *targets], environment(self.root))
        self._built.add(key)
        return text

    def tests(self):
        """The tests that meson knows: dictionaries with name, cmd and env."""
        self.configure()
        return json.loads(run(["meson", "introspect", "--tests", self.folder], environment(self.root)))

    @property
    def program(self):
        """The gateway's program."""
        return os.path.join(self.folder, "control", "cli", "isthmus")
