"""Every drop reason is reached by a test, and told to the operator."""

import re
import unittest

import source_tree

LIST = "dataplane/stats/drop_reasons.def"
ROW = re.compile(r'^ISTHMUS_DROP\((\w+),\s*(\d+),\s*"([^"]*)",\s*"([^"]*)"\)', re.MULTILINE)


def rows():
    return ROW.findall(source_tree.read(LIST))


class DropReasons(unittest.TestCase):
    def test_the_list_is_read(self):
        self.assertGreater(len(rows()), 20)
        self.assertEqual(len(rows()), source_tree.read(LIST).count("\nISTHMUS_DROP("))

    def test_every_reason_is_named_by_a_test(self):
        tests = "\n".join(source_tree.read(path) for path in source_tree.files(".cc", ".py", under="test/"))
        named = set(re.findall(r"\bk_\w+", tests)) | {f"k_{word}" for word in re.findall(r'"(\w+)"', tests)}
        missing = [name for name, *_ in rows() if f"k_{name}" not in named]
        self.assertEqual(missing, [])

    def test_every_reason_is_given_by_the_path(self):
        sources = [path for path in source_tree.files(".h", ".cc", under="dataplane/")]
        named = set(re.findall(r"\bk_\w+", "\n".join(source_tree.read(path) for path in sources)))
        missing = [name for name, *_ in rows() if f"k_{name}" not in named]
        self.assertEqual(missing, [])

    def test_every_reason_has_a_text_and_a_hint(self):
        self.assertEqual([name for name, _, text, hint in rows() if len(text) < 8 or len(hint) < 8], [])
