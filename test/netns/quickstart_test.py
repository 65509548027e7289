"""packaging/quickstart: the first command of the README."""

import os
import subprocess
import tempfile
import unittest

import fleet_case  # noqa: F401  (finds test/support)
from documents import block
from fleet.shell import run
from tree_files import clean_copy

# What the README says: the one runs here, and .ci/run is the other one.
FIRST, SECOND = block("two-commands").splitlines()
RECORD = "/run/isthmus-quickstart.json"


def left_behind():
    """Network namespaces and folders of a quickstart fleet that still exist."""
    namespaces = [line.split()[0] for line in run(["ip", "netns"]).stdout.splitlines() if line]
    ours = [name for name in namespaces if name.startswith("ist-")
            and name.split("-")[1] in ("router", "east", "west", "north", "south")]
    folders = [name for name in os.listdir("/run") if name.startswith("isthmus-fleet-")]
    return ours, folders


@unittest.skipIf(os.geteuid() != 0, "needs root")
@unittest.skipIf(os.path.exists(RECORD), "a quickstart fleet is running")
class Quickstart(unittest.TestCase):
    """From a clean copy of the tree, as a clone gives it: the first run builds there."""

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="isthmus-clone-")
        cls.addClassCleanup(folder.cleanup)
        cls.tree = folder.name
        clean_copy(cls.tree)

    def quickstart(self, *words):
        env = {name: value for name, value in os.environ.items() if name != "BUILD_DIR"}
        return subprocess.run([os.path.join(self.tree, FIRST), *words], env=env,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=400)

    def test_every_check_passes_and_nothing_is_left_behind(self):
        before = left_behind()
        done = self.quickstart()
        self.assertEqual(done.returncode, 0, done.stdout)
        for words in ("etcd of west", "pod to pod", "policy_denied", "global service", "scale down", "failover time",
                      "elsewhere 10.104.0.0/16", "All checks passed."):
            self.assertIn(words.lower(), done.stdout.lower())
        self.assertEqual(left_behind(), before)

    def test_the_second_command_is_what_ci_runs(self):
        with open(os.path.join(self.tree, ".ci", "run"), encoding="utf-8") as file:
            self.assertIn(SECOND, file.read())
        self.assertTrue(os.access(os.path.join(self.tree, SECOND), os.X_OK))

    def test_keep_leaves_the_fleet_running_and_down_removes_it(self):
        before = left_behind()
        self.addCleanup(self.quickstart, "down")
        done = self.quickstart("--keep")
        self.assertEqual(done.returncode, 0, done.stdout)
        done = run(["ip", "netns", "exec", "ist-east-client", "curl", "-s", "--max-time", "5",
                     "http://web.shop.svc.clusterset.local/"])
        self.assertRegex(done.stdout, r"^(east|west|north|south)-web-\d ")
        self.assertEqual(self.quickstart().returncode, 1, "a second fleet was started")
        done = self.quickstart("down")
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertEqual(left_behind(), before)

    def test_the_hub_can_be_a_folder_of_manifests(self):
        before = left_behind()
        done = self.quickstart("--hub", "file")
        self.assertEqual(done.returncode, 0, done.stdout)
        for words in ("folder of manifests", "All checks passed."):
            self.assertIn(words, done.stdout)
        self.assertEqual(left_behind(), before)

    def test_unknown_arguments_are_errors(self):
        for words in (("up",), ("--hub",), ("--hub", "zookeeper")):
            done = self.quickstart(*words)
            self.assertEqual(done.returncode, 2, done.stdout)
            self.assertIn("--help", done.stdout)


if __name__ == "__main__":
    unittest.main()
