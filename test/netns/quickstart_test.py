"""The first command of the README, as a newcomer runs it."""

import os
import subprocess
import unittest

from fleet_case import BUILD, ROOT
from fleet.shell import run

COMMAND = os.path.join(ROOT, "packaging", "quickstart")
RECORD = "/run/isthmus-quickstart.json"


def left_behind():
    """What a fleet of the quickstart leaves if it does not tidy up."""
    spaces = [line.split()[0] for line in run(["ip", "netns"]).stdout.splitlines() if line]
    ours = [name for name in spaces if name.startswith("ist-")
            and name.split("-")[1] in ("router", "east", "west", "north")]
    folders = [name for name in os.listdir("/run") if name.startswith("isthmus-fleet-")]
    return ours, folders


@unittest.skipIf(os.geteuid() != 0, "needs root")
@unittest.skipIf(os.path.exists(RECORD), "a fleet of the quickstart is up")
class Quickstart(unittest.TestCase):
    def quickstart(self, *words):
        return subprocess.run([COMMAND, *words], env=dict(os.environ, BUILD_DIR=BUILD), stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, check=False, timeout=300)

    def test_it_shows_everything_and_leaves_nothing_behind(self):
        before = left_behind()
        done = self.quickstart()
        self.assertEqual(done.returncode, 0, done.stdout)
        for words in ("an etcd of west", "pod to pod", "is denied, and each", "becomes global", "scaled away",
                      "time to fail over",
                      "Everything worked."):
            self.assertIn(words.lower(), done.stdout.lower())
        self.assertEqual(left_behind(), before)

    def test_keep_leaves_the_fleet_up_and_down_removes_it(self):
        before = left_behind()
        self.addCleanup(self.quickstart, "down")
        done = self.quickstart("--keep")
        self.assertEqual(done.returncode, 0, done.stdout)
        asked = run(["ip", "netns", "exec", "ist-east-client", "curl", "-s", "--max-time", "5",
                     "http://web.shop.svc.clusterset.local/"])
        self.assertRegex(asked.stdout, r"^(east|west|north)-web-\d ")
        self.assertEqual(self.quickstart().returncode, 1, "a second fleet beside the first")
        done = self.quickstart("down")
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertEqual(left_behind(), before)

    def test_the_hub_may_be_a_folder(self):
        before = left_behind()
        done = self.quickstart("--hub", "file")
        self.assertEqual(done.returncode, 0, done.stdout)
        for words in ("a folder of manifests", "Everything worked."):
            self.assertIn(words, done.stdout)
        self.assertEqual(left_behind(), before)

    def test_it_says_what_it_does_not_know(self):
        for words in (("up",), ("--hub",), ("--hub", "zookeeper")):
            done = self.quickstart(*words)
            self.assertEqual(done.returncode, 2, done.stdout)
            self.assertIn("--help", done.stdout)


if __name__ == "__main__":
    unittest.main()
