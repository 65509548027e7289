"""perf/report: one page that stands alone."""

import os
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "perf"))

from harness import page, rows  # noqa: E402  (needs the path above)


def perf(tool, *arguments):
    return subprocess.run([os.path.join(ROOT, "perf", tool), *arguments], capture_output=True, text=True, check=False)


def row(case="path/x", median=100.0, **more):
    return rows.complete({"case": case, "device": "memory", "flows": 1000, "burst": 64,
                          "cycles_per_packet": {"median": median, "min": median - 1, "max": median + 1, "runs": 3},
                          "mpps": 1.0, **more})


class Report(unittest.TestCase):
    def test_the_page_stands_alone_and_shows_every_case(self):
        text = page.render([("one", [row("path/a <b>"), row("io/x", cycles_per_packet=None)]),
                            ("two", [row("path/c")])])
        for word in ("path/a &lt;b&gt;", "io/x", "path/c", "<svg"):
            self.assertIn(word, text)
        for outside in ("http:", "https:", "<script", "src="):
            self.assertNotIn(outside, text)

    def test_what_is_no_figure_is_refused(self):
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            file.write("{}")
            file.flush()
            done = perf("report", file.name)
        self.assertEqual(done.returncode, 1)
        self.assertIn(file.name, done.stderr)


if __name__ == "__main__":
    unittest.main()
