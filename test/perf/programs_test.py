"""The benchmark programs run to their end, and the path costs no more instructions than was accepted."""

import os
import subprocess
import unittest

from perf_tools import BUILD, ROOT

SKIPPED = 77


def run(*words):
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.returncode, done.stdout


class Programs(unittest.TestCase):
    """Every packet of every case comes out as it must; the figures are for people."""

    def test_the_path_carries_every_case(self):
        status, text = run(os.path.join(BUILD, "perf/path/perf-path"), "--connections", "1000", "--runs", "1")
        self.assertEqual(status, 0, text)

    def test_nothing_is_lost_under_change_or_beside_a_flood(self):
        status, text = run(os.path.join(BUILD, "perf/path/perf-reload"), "--seconds", "0.5", "--connections", "1000")
        self.assertEqual(status, 0, text)

    def test_no_case_costs_more_instructions_than_was_accepted(self):
        status, text = run(os.path.join(ROOT, "perf/baseline/check"), os.path.join(BUILD, "perf/path/perf-count"))
        if status == SKIPPED:
            self.skipTest(text)
        self.assertEqual(status, 0, text)
