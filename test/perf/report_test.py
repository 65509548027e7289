"""perf/report: one page that stands alone."""

import tempfile
import unittest

from perf_tools import perf, row  # first: it finds perf/harness

from harness import page


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
