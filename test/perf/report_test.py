"""perf/report: a self-contained page."""

import tempfile
import unittest

from perf_tools import perf, row  # first: makes perf/harness importable

from harness import page


class Report(unittest.TestCase):
    def test_the_page_is_self_contained_and_shows_every_case(self):
        text = page.render([("one", [row("path/a <b>"), row("io/x", cycles_per_packet=None)]),
                            ("two", [row("path/c")])])
        for word in ("path/a &lt;b&gt;", "io/x", "path/c", "<svg"):
            self.assertIn(word, text)
        for external in ("http:", "https:", "<script", "src="):
            self.assertNotIn(external, text)

    def test_other_figures_are_shown_with_their_unit_or_as_they_are_worded(self):
        kept = row("io/y", cycles_per_packet=None, mpps=None, measures={"a range": "1 to <2"},
                   figure={"median": 12.5, "min": 11.0, "max": 14.0, "unit": "us", "runs": 3})
        text = page.render([("one", [kept])])
        for word in ("io (us)", ">12.5<", "1 to &lt;2"):
            self.assertIn(word, text)

    def test_a_file_without_results_is_rejected(self):
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            file.write("{}")
            file.flush()
            done = perf("report", file.name)
        self.assertEqual(done.returncode, 1)
        self.assertIn(file.name, done.stderr)


if __name__ == "__main__":
    unittest.main()
