"""The README's table of stages is the list of dataplane/path/path.h: names, order and files."""

import re
import unittest

import source_tree

HEADER = "dataplane/path/path.h"
STAGE = re.compile(r"^void (\w+)\(PathContext& context, Burst& burst\) noexcept;(?: *// *(.*))?$")
FILE = re.compile(r"\b([\w/]+\.cc)\b")
TABLE_HEAD = "| stage | file | does |"
ROW = re.compile(r"^\| `(\w+)` \| `([\w/]+\.cc)`")
WHOLE_PATH = "run_path"


def stages_of_header(text):
    """(stage, file) in order; the file is named by the comment behind the declaration, or by the one above it."""
    found, above = [], ""
    for line in text.splitlines():
        if line.startswith("//"):
            above += line
            continue
        match = STAGE.match(line)
        if match and match.group(1) != WHOLE_PATH:
            file = FILE.search(match.group(2) or above)
            found.append((match.group(1), file.group(1) if file else None))
        above = ""
    return found


def stages_of_readme(text):
    """(stage, file) of the rows of the table; a row of another form is given as it is."""
    lines = text.splitlines()
    rows = []
    for line in lines[lines.index(TABLE_HEAD) + 2:] if TABLE_HEAD in lines else []:
        if not line.startswith("|"):
            break
        match = ROW.match(line)
        rows.append(match.groups() if match else line)
    return rows


class Stages(unittest.TestCase):
    def test_the_check_itself_reads_both_lists(self):
        header = ("// Text.\nvoid a(PathContext& context, Burst& burst) noexcept;  // a.cc: first\n"
                  "// b_slow.cc, also: c.h\nvoid b(PathContext& context, Burst& burst) noexcept;\n"
                  "\nvoid run_path(PathContext& context, Burst& burst) noexcept;\n")
        readme = ("# T\n\n| stage | file | does |\n|---|---|---|\n| `a` | `a.cc` | x |\n| b | `b.cc` | y |\n\n"
                  "| `c` | `c.cc` | z |\n")
        self.assertEqual(stages_of_header(header), [("a", "a.cc"), ("b", "b_slow.cc")])
        self.assertEqual(stages_of_readme(readme), [("a", "a.cc"), "| b | `b.cc` | y |"])

    def test_the_readmes_table_is_the_list_of_the_header(self):
        stages = stages_of_header(source_tree.read(HEADER))
        self.assertGreater(len(stages), 3)
        self.assertEqual(stages_of_readme(source_tree.read("README.md")), stages)

    def test_each_stage_is_defined_in_its_file_and_run_in_this_order(self):
        stages = stages_of_header(source_tree.read(HEADER))
        wrong = [(stage, file) for stage, file in stages
                 if f"void {stage}(PathContext& context, Burst& burst) noexcept {{"
                 not in source_tree.read(f"dataplane/path/{file}")]
        self.assertEqual(wrong, [])
        run = re.findall(r"^ +(\w+)\(context, burst\);", source_tree.read("dataplane/path/path.cc"), re.MULTILINE)
        self.assertEqual(run, [stage for stage, _ in stages])


if __name__ == "__main__":
    unittest.main()
