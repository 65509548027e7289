"""What the Debian packages are made of: libraries, man pages, completions, units. Without building them."""

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DEB = os.path.join(ROOT, "packaging", "deb")
BUILD = os.environ.get("ISTHMUS_BUILD", os.path.join(ROOT, "build"))
PROGRAM = os.environ.get("ISTHMUS_PROGRAM", os.path.join(BUILD, "control", "cli", "isthmus"))
MODULE = os.path.join(BUILD, "dataplane", "isthmus-dpdk.so")
sys.path.insert(0, DEB)

from help_text import command_of  # noqa: E402  (needs the path above)

# Of `systemd-analyze security`: the exposure of a unit, of 10.
EXPOSURE = re.compile(r"Overall exposure level for \S+: ([0-9.]+)")
MOST_EXPOSED = 3.0
DELAY = 20  # seconds within which a shell completes a word


def run(*words, env=None):
    return subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, env=env,
                          timeout=60)


class Typed:
    """An interactive shell at a terminal of its own."""

    def __init__(self, words, env):
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.execvpe(words[0], words, env)
        self.seen = ""

    def type(self, text):
        os.write(self.terminal, text.encode())

    def wait_for(self, text):
        """Reads until `text` has appeared. Returns whether it has."""
        until = time.monotonic() + DELAY
        while text not in self.seen and time.monotonic() < until:
            if select.select([self.terminal], [], [], 0.1)[0]:
                try:
                    self.seen += os.read(self.terminal, 4096).decode(errors="replace")
                except OSError:
                    break
        return text in self.seen

    def close(self):
        os.close(self.terminal)
        os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)


class Generated(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="isthmus-generated-")
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        for kind in ("man", "completions"):
            done = run(os.path.join(DEB, kind), PROGRAM, os.path.join(cls.folder, kind))
            if done.returncode != 0:
                raise AssertionError(done.stdout)
        # Completion asks for the name, and the shells complete only commands that they find.
        os.symlink(PROGRAM, os.path.join(cls.folder, "isthmus"))
        cls.whole = command_of(PROGRAM)

    def file(self, *names):
        return os.path.join(self.folder, *names)

    def environment(self):
        return {"PATH": f"{self.folder}:/usr/bin:/bin", "HOME": self.folder, "TERM": "dumb", "LC_ALL": "C.UTF-8",
                "PS1": "ready> ", "INPUTRC": "/dev/null"}


@unittest.skipUnless(shutil.which("man"), "man-db is not installed")
class ManPages(Generated):
    def test_each_command_has_one_that_says_what_its_help_says(self):
        for command in self.whole.commands:
            page = run("man", "--warnings", "-l", self.file("man", f"isthmus-{command.name}.8"),
                       env={**self.environment(), "MANWIDTH": "200", "MANPAGER": "cat"})
            words = " ".join(page.stdout.split())
            self.assertNotIn("warning", page.stdout)
            for each in command.walk():
                for option in each.options:
                    self.assertIn(" ".join(f"{','.join(option.names)} {option.value}".split()), words)
                    self.assertIn(option.purpose, words)

    def test_the_configuration_has_one_with_every_key(self):
        page = run("man", "--warnings", "-l", self.file("man", "isthmus.yaml.5"),
                   env={**self.environment(), "MANWIDTH": "1000", "MANPAGER": "cat"}).stdout
        self.assertNotIn("warning", page)
        with open(os.path.join(ROOT, "config", "schema", "reference.md"), encoding="utf-8") as file:
            keys = re.findall(r"^\| `([a-z0-9_.]+)` \|", file.read(), re.MULTILINE)
        self.assertGreater(len(keys), 40)
        for key in keys:
            self.assertRegex(page, rf"(?m)^ +{re.escape(key)} \(")


class Completions(Generated):
    # Typed, and what it becomes.
    LINES = (("isthmus conn", "isthmus connections "), ("isthmus policy tr", "isthmus policy trace "),
             ("isthmus flows --verd", "isthmus flows --verdict "), ("isthmus status -o js", "isthmus status -o json "),
             ("isthmus run --config /etc/os-rel", "isthmus run --config /etc/os-release "),
             ("isthmus config check /etc/os-rel", "isthmus config check /etc/os-release "))

    def check(self, words, prepare, lines=LINES):
        shell = Typed(words, self.environment())
        self.addCleanup(shell.close)
        shell.type(f"{prepare}; echo pre''pared\n")
        self.assertTrue(shell.wait_for("prepared"), shell.seen)
        for typed, completed in lines:
            shell.seen = ""
            shell.type(f"{typed}\t")
            self.assertTrue(shell.wait_for(completed), f"{typed!r} became {shell.seen!r}")
            shell.type("\x15")

    @unittest.skipUnless(shutil.which("bash"), "bash is not installed")
    def test_bash_completes(self):
        self.check(["bash", "--norc", "--noprofile", "-i"], f"source {self.file('completions', 'isthmus.bash')}")

    @unittest.skipUnless(shutil.which("zsh"), "zsh is not installed")
    def test_zsh_completes(self):
        self.check(["zsh", "-f", "-i"], f"fpath=({self.file('completions')} $fpath); "
                                       "autoload -U compinit; compinit -D -u")

    @unittest.skipUnless(shutil.which("fish"), "fish is not installed")
    def test_fish_completes(self):
        for typed, completed in self.LINES:
            done = run("fish", "--no-config", "-c", f"source {self.file('completions', 'isthmus.fish')}; "
                                                    f"complete -C '{typed}'", env=self.environment())
            words = [line.split("\t")[0] for line in done.stdout.splitlines()]
            self.assertTrue(any(completed.split()[-1] in word for word in words), f"{typed!r}: {done.stdout}")

    def test_each_command_and_option_is_in_all_of_them(self):
        texts = {}
        for name in ("isthmus.bash", "_isthmus", "isthmus.fish"):
            with open(self.file("completions", name), encoding="utf-8") as file:
                texts[name] = file.read()
        for command in self.whole.walk():
            for option in command.options:
                for name in option.names:
                    self.assertIn(name, texts["isthmus.bash"])
                    self.assertIn(name, texts["_isthmus"])
                    self.assertRegex(texts["isthmus.fish"], rf"-[ls] {name.lstrip('-')}\b")


class Libraries(unittest.TestCase):
    """DPDK's are the module's alone, so that the program starts where they are not installed."""

    @staticmethod
    def needed(path):
        return re.findall(r"\(NEEDED\) .*\[(.*)\]", run("readelf", "--dynamic", "--wide", path).stdout)

    def test_the_program_needs_none_of_dpdks(self):
        self.assertIn("libc.so.6", self.needed(PROGRAM))
        loaded = run("ldd", PROGRAM).stdout
        self.assertIn("libc.so.6", loaded)
        self.assertNotIn("librte", loaded)
        self.assertNotIn("librte", " ".join(self.needed(PROGRAM)))

    @unittest.skipUnless(os.path.exists(MODULE), "the module for DPDK is not built")
    def test_the_module_needs_the_few_that_have_no_driver_in_them(self):
        needed = {name.split(".")[0] for name in self.needed(MODULE) if name.startswith("librte")}
        self.assertLessEqual({"librte_eal", "librte_ethdev"}, needed)
        self.assertLessEqual(needed, {"librte_eal", "librte_ethdev", "librte_mbuf", "librte_mempool", "librte_kvargs",
                                      "librte_ring"})  # on which librte_mempool depends itself


@unittest.skipUnless(shutil.which("systemd-analyze"), "systemd is not installed")
class Units(unittest.TestCase):
    def setUp(self):
        self.root = tempfile.mkdtemp(prefix="isthmus-units-")
        self.addCleanup(shutil.rmtree, self.root)
        folder = os.path.join(self.root, "lib/systemd/system")
        os.makedirs(folder)
        for path in ("usr/bin/isthmus", "bin/kill", "bin/sh", "bin/systemd-tmpfiles"):
            os.makedirs(os.path.join(self.root, os.path.dirname(path)), exist_ok=True)
            shutil.copy(PROGRAM, os.path.join(self.root, path))
        for target in ("multi-user", "network-online", "sysinit", "basic", "shutdown"):
            with open(os.path.join(folder, f"{target}.target"), "w", encoding="ascii") as file:
                file.write("[Unit]\nDescription=target\n")
        done = run(os.path.join(DEB, "units"), folder)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.units = [os.path.join(folder, "isthmus.service"), os.path.join(folder, "isthmus@.service")]

    def add_dpdk(self):
        """As the package isthmus-dpdk does."""
        for unit in self.units:
            os.makedirs(unit + ".d")
            shutil.copy(os.path.join(DEB, "isthmus-dpdk.conf"), os.path.join(unit + ".d", "dpdk.conf"))

    def test_systemd_finds_no_error_in_them(self):
        self.verify()

    def test_nor_in_what_dpdk_adds(self):
        self.add_dpdk()
        self.verify()

    def verify(self):
        done = run("systemd-analyze", "verify", "--man=no", f"--root={self.root}", "isthmus.service",
                   "isthmus@x.service", "isthmus-bpf.service")
        self.assertEqual((done.returncode, done.stdout), (0, ""))

    def test_they_are_hardly_exposed(self):
        self.assertLessEqual(self.exposure(), MOST_EXPOSED)

    def test_nor_are_they_where_dpdk_is(self):
        self.add_dpdk()
        self.assertLessEqual(self.exposure(), MOST_EXPOSED)

    def exposure(self):
        """The higher one."""
        done = run("systemd-analyze", "security", "--no-pager", "--offline=true", f"--root={self.root}",
                   "isthmus.service", "isthmus@x.service")
        found = [float(exposure) for exposure in EXPOSURE.findall(done.stdout)]
        self.assertEqual(len(found), 2, done.stdout)
        return max(found)


if __name__ == "__main__":
    unittest.main()
