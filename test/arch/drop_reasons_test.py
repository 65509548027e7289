"""Every drop reason is set by the path, reached by a test, and explained to the operator."""

import re
import unittest

import source_tree

LIST = "dataplane/stats/drop_reasons.def"
ROW = re.compile(r'^ISTHMUS_DROP\((\w+),\s*(\w+),\s*(\d+),\s*"([^"]*)",\s*"([^"]*)"\)', re.MULTILINE)


def rows():
    return ROW.findall(source_tree.read(LIST))


class DropReasons(unittest.TestCase):
    def test_the_list_is_read(self):
        self.assertGreater(len(rows()), 20)
        self.assertEqual(len(rows()), source_tree.read(LIST).count("\nISTHMUS_DROP("))

    def test_every_reason_is_named_by_a_test(self):
        tests = "\n".join(source_tree.read(path) for path in source_tree.files(".cc", ".py", under="test/"))
        words = set(re.findall(r"\bDropReason::(k\w+)", tests)) | set(re.findall(r'"(\w+)"', tests))
        missing = [name for enumerator, name, *_ in rows() if f"k{enumerator}" not in words and name not in words]
        self.assertEqual(missing, [])

    def test_every_reason_is_set_by_the_path(self):
        sources = [path for path in source_tree.files(".h", ".cc", under="dataplane/")]
        used = set(re.findall(r"\bDropReason::k(\w+)", "\n".join(source_tree.read(path) for path in sources)))
        missing = [enumerator for enumerator, *_ in rows() if enumerator not in used]
        self.assertEqual(missing, [])

    def test_every_reason_has_a_text_and_a_hint(self):
        self.assertEqual([name for _, name, _, text, hint in rows() if len(text) < 8 or len(hint) < 8], [])
