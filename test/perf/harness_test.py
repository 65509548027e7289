"""perf/run: choices, errors, and the shape of what it writes."""

import json
import os
import subprocess
import tempfile
import unittest

from perf_tools import ROOT, perf, row  # first: it finds perf/harness

from harness import cases, instructions, plan, rows

BUILD = os.environ.get("ISTHMUS_BUILD", os.path.join(ROOT, "build-test"))


class Choices(unittest.TestCase):
    def test_the_list_names_every_group(self):
        done = perf("run", "--list")
        self.assertEqual(done.returncode, 0, done.stderr)
        for case in ("path/new-flow", "table/lookup", "reload", "flood/syn", "quality/maglev", "io/af_xdp"):
            self.assertIn(case, done.stdout)

    def test_wrong_arguments_say_what_is_wrong(self):
        for arguments, status, told in ((("--runs", "none"), 2, "'none'"), (("--frobnicate",), 2, "--frobnicate"),
                                        (("--quick", "--full"), 2, "not allowed with"),
                                        (("--case", "nothing/*"), 1, "--list"),
                                        (("--compare", "/nowhere.json"), 1, "/nowhere.json"),
                                        (("--case", "path/drop", "--build", "/nowhere"), 1, "meson setup")):
            done = perf("run", *arguments)
            self.assertEqual(done.returncode, status, done.stderr)
            self.assertIn(told, done.stderr)

    def test_every_plan_is_part_of_the_whole_matrix(self):
        whole = set(plan.full([1, 2]))
        for which in ("quick", "usual"):
            chosen = plan.choose(which, ["*"], [1, 2])
            self.assertEqual(len(chosen), len(set(chosen)))
            self.assertEqual(set(chosen) - whole, set())
            self.assertEqual({line[0] for line in chosen}, set(plan.PATH_CASES))


class Figures(unittest.TestCase):
    def test_a_run_writes_rows_of_the_agreed_shape(self):
        with tempfile.TemporaryDirectory() as folder:
            out = os.path.join(folder, "out.json")
            done = perf("run", "--build", BUILD, "--quick", "--runs", "1", "--case", "quality/*", "--json", out)
            self.assertEqual(done.returncode, 0, done.stderr)
            with open(out, encoding="utf-8") as file:
                figures = json.load(file)
        self.assertGreater(len(figures), 5)
        for figure in figures:
            self.assertEqual([key for key in rows.KEYS if key not in figure], [])
            self.assertGreater(figure["machine"]["tsc_mhz"], 100)

    def test_the_path_program_writes_what_it_measured(self):
        with tempfile.TemporaryDirectory() as folder:
            out = os.path.join(folder, "out.json")
            done = subprocess.run([os.path.join(BUILD, "perf/path/perf-path"), "--case", "path/drop", "--connections",
                                   "1000", "--runs", "2", "--burst", "8", "--buffers", "cold", "--json", out],
                                  capture_output=True, text=True, check=False)
            self.assertEqual(done.returncode, 0, done.stderr)
            with open(out, encoding="utf-8") as file:
                figure, = json.load(file)
        self.assertEqual([key for key in rows.KEYS if key not in figure], [])
        self.assertEqual((figure["flows"], figure["burst"], figure["buffers"]), (1000, 8, "cold"))
        self.assertEqual(figure["cycles_per_packet"]["runs"], 2)
        self.assertGreater(figure["cycles_per_packet"]["median"], 0)

    def test_the_path_program_refuses_wrong_arguments(self):
        for arguments in (("--buffers", "warm"), ("--connections", "0"), ("--case", "path/none"),
                          ("--plan", "/nowhere")):
            done = subprocess.run([os.path.join(BUILD, "perf/path/perf-path"), *arguments], capture_output=True,
                                  text=True, check=False)
            self.assertNotEqual(done.returncode, 0, arguments)
            self.assertNotEqual(done.stderr, "")

    def test_accepted_ratios_are_compared_where_cycles_are_not_kept(self):
        kept = rows.ratios([{**row("a", 200.0), "reference": "driver", "ratio_to_reference": 8.0}, row("b", 1.0)])
        self.assertEqual([line["case"] for line in kept], ["a"])
        text = rows.compare(kept, [{**row("a", 300.0), "reference": "driver", "ratio_to_reference": 10.0}])
        self.assertIn("8.00 x", text)
        self.assertIn("+25.0 % of the ratio to driver", text)
        other = {**row("a", 300.0), "reference": "another", "ratio_to_reference": 10.0}
        self.assertIn("nothing", rows.compare(kept, [other]))

    def test_the_accepted_ratios_are_of_cases_that_exist(self):
        known = {name for group in cases.GROUPS for name in group.cases} | set(cases.IoGroup.names.values())
        accepted = rows.read(os.path.join(ROOT, "perf", "baseline", "ratios.json"))
        self.assertEqual({line["case"] for line in accepted} - known, set())
        self.assertLessEqual({"path/new-flow", "path/local-to-fabric/service", "io/af_xdp"},
                             {line["case"] for line in accepted})

    def test_a_line_of_io_bench_becomes_a_row(self):
        line = ("rings-256                 0.478 Mpps (0.442 to 0.516)  2094 ns per frame, median of 20 turns, "
                "0.953 x bare (0.831 to 1.010)")
        [(what, *figures)] = cases.RATE.findall(f"io-bench: a warning\n{line}\n")
        self.assertEqual(what.strip(), "rings-256")
        made = cases.IoGroup.row("io/af_xdp/variations", *map(float, figures))
        self.assertEqual((made["mpps"], made["ratio_to_reference"]), (0.478, 0.953))
        self.assertEqual(made["measures"], {"half of the ratios within": "0.831 to 1.010"})
        one, other = ({**made, "variation": name} for name in ("rings-256", "rings-512"))
        self.assertNotEqual(rows.identity(one), rows.identity(other))

    def test_a_comparison_tells_changes_from_noise(self):
        text = rows.compare([row("a", 100.0), row("b", 100.0)], [row("a", 110.0), row("b", 100.5)])
        self.assertIn("+10.0 %", text)
        self.assertNotIn("within the spread", text.splitlines()[1])
        self.assertIn("within the spread", text.splitlines()[2])

    def test_a_grown_instruction_count_is_found(self):
        _, wrong = instructions.compare({"a": 100.0, "b": 100.0, "gone": 1.0}, {"a": 104.9, "b": 105.1, "new": 1.0})
        self.assertEqual(wrong, ["b", "gone", "new"])


if __name__ == "__main__":
    unittest.main()
