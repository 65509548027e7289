"""Every counter of dataplane/stats/counters.def is counted somewhere, has names and texts, and is in the reference.

That each row is in the JSON, on the metrics page and in the views is shown by test/unit/admin/counter_view_test.cc and
test/unit/observe/metrics_page_test.cc. `python3 test/arch/counters_test.py --write` writes the reference.
"""

import collections
import os
import re
import sys
import unittest

import cpp_scan
import source_tree

LIST, DROPS = "dataplane/stats/counters.def", "dataplane/stats/drop_reasons.def"
REFERENCE = "dataplane/stats/reference.md"
ROW = re.compile(r'^ISTHMUS_(\w+)\((\w+), (\w+)' + r', "([^"]*)"' * 5 + r"\)$", re.MULTILINE)
DROP = re.compile(r'^ISTHMUS_DROP\((\w+),\s*(\w+),\s*(\d+),\s*"([^"]*)",\s*"([^"]*)"\)', re.MULTILINE)
Counter = collections.namedtuple("Counter", "scope field kind json metric unit text hint")

# Scope: its title in the reference, and where it is counted.
SCOPES = {
    "WORKER_COUNTER": ("Workers", ("dataplane/path/", "dataplane/slowpath/", "dataplane/originate/",
                                   "dataplane/report/", "dataplane/worker/")),
    "CONNECTION_COUNTER": ("Connection table", ("dataplane/conntrack/",)),
    "CONNECTION_STATE": ("Connection table", ("dataplane/conntrack/",)),
    "TABLE_COUNTER": ("Other tables", ("dataplane/worker/engine.cc", "dataplane/worker/engine_counts.cc",
                                       "dataplane/handdown/hand_down.cc", "dataplane/fragments/fragment_table.h")),
    "QUEUE_COUNTER": ("Devices", ("dataplane/io/",)),
    "STEER_COUNTER": ("Steer programs", ("xdp/classify.bpf.h", "xdp/forward.bpf.c", "xdp/losses.bpf.c")),
}
KINDS = ("Count", "Loss", "Refusal", "Left", "Gauge")
PER_DEVICE = ("QUEUE_COUNTER", "STEER_COUNTER")

HEAD = """# Counters and drop reasons

Made from `counters.def` and `drop_reasons.def`; `python3 test/arch/counters_test.py --write` makes it again.

`isthmus status --counters` shows every counter; `isthmus status -o json` and the metrics page have it under the names
given here. `isthmus drops` shows the drop reasons, and what was lost at devices and refused by tables. A *loss* is of
packets that have no drop reason; a *refusal* is of something else, or of a packet that is dropped under a reason too.
"""


def rows_of(text):
    return [Counter(*match) for match in ROW.findall(text)]


def counted_in(text, field):
    """Whether the text adds to the field, or sets it."""
    return re.search(rf"(?:\.|->){field}(?:\.add\(|\+\+|\s\+?=\s)|&[\w>.-]+->{field}\b", text) is not None


def cell(text):
    return text.replace("|", "\\|")


def reference():
    lines = [HEAD]
    rows = rows_of(source_tree.read(LIST))
    for title in dict.fromkeys(title for title, _ in SCOPES.values()):
        chosen = [row for row in rows if SCOPES[row.scope][0] == title]
        where = ("JSON paths begin at `devices[]`; metrics have the labels `device` and `side`.\n"
                 if chosen[0].scope in PER_DEVICE else "")
        lines += [f"## {title}\n", *([where] if where else []),
                  "| JSON | metric | kind | unit | meaning | what to check |", "|---|---|---|---|---|---|"]
        lines += [f"| `{row.json}` | `{row.metric}` | {row.kind.lower()} | {row.unit} | {cell(row.text)} | "
                  f"{cell(row.hint)} |" for row in chosen]
        lines.append("")
    lines += ["## Drop reasons\n",
              "In `isthmus_drops_total` by this name; in `cilium_drop_count_total` by Cilium's text.\n",
              "| reason | Cilium | meaning | what to check |", "|---|---|---|---|"]
    lines += [f"| `{name}` | {code if code != '0' else ''} | {cell(text)} | {cell(hint)} |"
              for _, name, code, text, hint in DROP.findall(source_tree.read(DROPS))]
    return "\n".join(lines) + "\n"


class Counters(unittest.TestCase):
    def setUp(self):
        self.rows = rows_of(source_tree.read(LIST))

    def test_the_list_is_read(self):
        self.assertGreater(len(self.rows), 40)
        calls = [line for line in source_tree.read(LIST).splitlines() if line.startswith("ISTHMUS_")]
        self.assertEqual(len(self.rows), len(calls), "a row of another form")
        self.assertEqual({row.scope for row in self.rows}, set(SCOPES))

    def test_the_check_itself_tells_what_counts(self):
        for text in ("c.hits.add(3);", "state(w).hits.add();", "run->c->hits++;", "n.hits = 1;", "n.hits += x;",
                     "take(run, &run->counters->hits);"):
            self.assertTrue(counted_in(text, "hits"), text)
        for text in ("return c.hits;", "c.hits.get()", "c.hits == 2", "c.lost_hits.add()", "hits.add()"):
            self.assertFalse(counted_in(text, "hits"), text)

    def test_every_counter_is_counted_somewhere(self):
        missing = []
        for row in self.rows:
            sources = [cpp_scan.blank(source_tree.read(path)) for path in source_tree.files(".cc", ".h", ".c")
                       if path.startswith(SCOPES[row.scope][1])]
            if not any(counted_in(text, row.field) for text in sources):
                missing.append(f"{row.scope} {row.field}")
        self.assertEqual(missing, [])

    def test_no_counter_is_outside_the_list(self):
        known = {row.field for row in self.rows} | {"packets", "bytes"}  # these two: of a drop reason
        matrix = "dataplane/stats/flow_events.h"  # by verdict and outcome: isthmus_flow_events_total
        stray = [f"{path}: {name}" for path in source_tree.files(".h", ".cc", under="dataplane/") if path != matrix
                 for names in re.findall(r"^\s*Counter ([\w, ]+);", cpp_scan.blank(source_tree.read(path)), re.M)
                 for name in names.split(", ") if name.rstrip("_") not in known]
        self.assertEqual(stray, [])

    def test_kinds_names_texts_and_hints_are_in_order(self):
        wrong = []
        for row in self.rows:
            total = row.metric.endswith("_total")
            good = (row.kind in KINDS and re.fullmatch(r"[a-z_]+(\.[a-z_]+)?", row.json)
                    and re.fullmatch(r"isthmus_[a-z_]+", row.metric) and total == (row.kind != "Gauge")
                    and ("bytes" in row.metric) == (row.unit == "bytes") and len(row.text) >= 8 and row.unit
                    and not row.text.endswith(".") and (row.hint or row.kind not in ("Loss", "Refusal", "Left")))
            wrong += [] if good else [row]
        self.assertEqual(wrong, [])

    def test_no_two_rows_share_a_metric_or_a_place_in_the_json(self):
        metrics = collections.Counter(row.metric for row in self.rows)
        places = collections.Counter((row.scope in PER_DEVICE, row.json) for row in self.rows)
        self.assertEqual([key for key, n in (metrics + places).items() if n > 1], [])

    def test_the_metrics_page_adds_none_of_these_by_hand(self):
        page = source_tree.read("control/observe/metrics_page.cc")
        self.assertEqual([row.metric for row in self.rows if f'"{row.metric}"' in page], [])

    def test_the_reference_is_what_the_lists_say(self):
        self.assertEqual(source_tree.read(REFERENCE), reference(), "python3 test/arch/counters_test.py --write")


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        with open(os.path.join(source_tree.ROOT, REFERENCE), "w", encoding="utf-8") as file:
            file.write(reference())
    else:
        unittest.main()
