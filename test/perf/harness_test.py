"""perf/run: options, errors and output format."""

import json
import os
import subprocess
import tempfile
import unittest

from perf_tools import BUILD, ROOT, perf, row  # first: makes perf/harness importable

from harness import cases, instructions, plan, pods, rows


class Choices(unittest.TestCase):
    def test_the_list_names_every_group(self):
        done = perf("run", "--list")
        self.assertEqual(done.returncode, 0, done.stderr)
        for case in ("path/new-flow", "table/lookup", "reload", "flood/syn", "quality/maglev", "io/af_xdp",
                     "io/dpdk-null", "io/xdp/maps", "io/xdp/flood", "io/xdp/latency/udp", "io/xdp/tcp"):
            self.assertIn(case, done.stdout)

    def test_invalid_arguments_are_named_in_the_error(self):
        for arguments, status, message in (
                (("--runs", "none"), 2, "'none'"), (("--frobnicate",), 2, "--frobnicate"),
                (("--quick", "--full"), 2, "not allowed with"), (("--case", "nothing/*"), 1, "--list"),
                (("--compare", "/nowhere.json"), 1, "/nowhere.json"),
                (("--case", "path/drop", "--build", "/nowhere"), 1, "meson setup")):
            done = perf("run", *arguments)
            self.assertEqual(done.returncode, status, done.stderr)
            self.assertIn(message, done.stderr)

    def test_every_plan_is_part_of_the_full_matrix(self):
        whole = set(plan.full([1, 2]))
        for which in ("quick", "usual"):
            chosen = plan.choose(which, ["*"], [1, 2])
            self.assertEqual(len(chosen), len(set(chosen)))
            self.assertEqual(set(chosen) - whole, set())
            self.assertEqual({line[0] for line in chosen}, set(plan.PATH_CASES))


class Figures(unittest.TestCase):
    def test_a_run_writes_rows_with_all_keys(self):
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

    def test_perf_path_writes_its_parameters_and_figures(self):
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

    def test_null_devices_are_measured_beside_memory_devices(self):
        with tempfile.TemporaryDirectory() as folder:
            out = os.path.join(folder, "out.json")
            done = perf("run", "--build", BUILD, "--runs", "1", "--case", "io/dpdk-null", "--json", out)
            self.assertEqual(done.returncode, 0, done.stderr)
            figures = rows.read(out)
        if figures[0].get("skipped"):
            self.skipTest(figures[0]["skipped"])
        self.assertEqual(len({rows.identity(figure) for figure in figures}), 4)
        for figure in figures:
            self.assertGreater(figure["cycles_per_packet"]["median"], 0)
            self.assertGreater(figure["ratio_to_reference"], 0)

    def test_perf_path_rejects_invalid_arguments(self):
        for arguments in (("--buffers", "warm"), ("--connections", "0"), ("--case", "path/none"),
                          ("--plan", "/nowhere")):
            done = subprocess.run([os.path.join(BUILD, "perf/path/perf-path"), *arguments], capture_output=True,
                                  text=True, check=False)
            self.assertNotEqual(done.returncode, 0, arguments)
            self.assertNotEqual(done.stderr, "")

    def test_ratios_are_compared_when_a_row_has_no_cycles(self):
        kept = rows.ratios([{**row("a", 200.0), "reference": "driver", "ratio_to_reference": 8.0}, row("b", 1.0)])
        self.assertEqual([line["case"] for line in kept], ["a"])
        text = rows.compare(kept, [{**row("a", 300.0), "reference": "driver", "ratio_to_reference": 10.0}])
        self.assertIn("8.00 x", text)
        self.assertIn("+25.0 % of the ratio to driver", text)
        other = {**row("a", 300.0), "reference": "another", "ratio_to_reference": 10.0}
        self.assertIn("no comparable rows", rows.compare(kept, [other]))

    def test_every_accepted_ratio_belongs_to_an_existing_case(self):
        known = {name for group in cases.GROUPS for name in group.cases} | set(cases.IoGroup.names.values())
        accepted = rows.read(os.path.join(ROOT, "perf", "baseline", "ratios.json"))
        self.assertEqual({line["case"] for line in accepted} - known, set())
        self.assertLessEqual({"path/new-flow", "path/local-to-fabric/service", "io/af_xdp"},
                             {line["case"] for line in accepted})

    def test_a_line_of_io_bench_becomes_a_row(self):
        line = ("rings-256                 0.478 Mpps (0.442 to 0.516)  2094 ns per frame, median of 20 turns, "
                "0.953 x bare (0.831 to 1.010)")
        [(subject, *figures)] = cases.RATE.findall(f"io-bench: a warning\n{line}\n")
        self.assertEqual(subject.strip(), "rings-256")
        result = cases.IoGroup.row("io/af_xdp/variations", *map(float, figures))
        self.assertEqual((result["mpps"], result["ratio_to_reference"]), (0.478, 0.953))
        self.assertEqual(result["measures"], {"half of the ratios within": "0.831 to 1.010"})
        one, other = ({**result, "variation": name} for name in ("rings-256", "rings-512"))
        self.assertNotEqual(rows.identity(one), rows.identity(other))

    def test_a_line_of_bursts_becomes_a_row(self):
        line = "rings-256    two cores, lost of bursts of  64: 0.00 %  128: 12.50 %"
        result, = cases.IoGroup.bursts(f"io-bench: a warning\n{line}\n")
        self.assertEqual(result["variation"], "rings-256 two cores")
        self.assertEqual(result["measures"], {"% lost of bursts of 64": 0.0, "% lost of bursts of 128": 12.5})

    def test_turns_of_pods_become_rows_with_the_ratio_of_turns_of_one_round(self):
        def asked(p50, busy):
            return {"seconds": 1.0, "busy": busy, "tsc_mhz": 2000.0, "requests": 1000, "p50": p50, "p99": 50.0,
                    "p99.9": 60.0, "max": 70.0}
        kernel, down = pods.latency_rows(pods.UDP, ("kernel", "handed down"),
                                         [[asked(20.0, 1.0), asked(40.0, 1.0), asked(30.0, 1.0)],
                                          [asked(10.0, 0.5), asked(10.0, 0.5), asked(24.0, 0.5)]])
        self.assertIsNone(kernel.get("ratio_to_reference"))
        self.assertEqual((down["reference"], down["ratio_to_reference"]), ("kernel", 0.5))
        self.assertEqual(down["figure"], {"median": 10.0, "min": 10.0, "max": 24.0, "unit": "us", "runs": 3})
        self.assertEqual(down["measures"]["CPU us per request"], 500.0)
        self.assertEqual(down["measures"]["p50, us, lowest and highest"], "10.0 to 24.0")

    def test_a_stream_has_a_rate_and_cycles_per_byte(self):
        turn = {"seconds": 2.0, "busy": 3.0, "tsc_mhz": 2000.0, "bytes": 1_000_000_000, "retransmitted": 7}
        row_, = pods.stream_rows(pods.STREAM, ("kernel",), [[turn]])
        self.assertEqual((row_["figure"]["median"], row_["figure"]["unit"]), (4.0, "Gbit/s"))
        self.assertEqual((row_["measures"]["cycles per byte"], row_["measures"]["cores busy"]), (6.0, 1.5))
        self.assertEqual(row_["measures"]["segments sent again per GB"], 7.0)

    def test_a_comparison_marks_changes_within_the_spread(self):
        text = rows.compare([row("a", 100.0), row("b", 100.0)], [row("a", 110.0), row("b", 100.5)])
        self.assertIn("+10.0 %", text)
        self.assertNotIn("within the spread", text.splitlines()[1])
        self.assertIn("within the spread", text.splitlines()[2])

    def test_grown_new_and_missing_instruction_counts_fail(self):
        _, failed = instructions.compare({"a": 100.0, "b": 100.0, "missing": 1.0}, {"a": 104.9, "b": 105.1, "new": 1.0})
        self.assertEqual(failed, ["b", "missing", "new"])


if __name__ == "__main__":
    unittest.main()
