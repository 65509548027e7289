"""Each block of commands in the documents is run by a test, as it stands, or says what a test would lack."""

import os
import re
import sys
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "test", "support"))

from documents import DOCUMENTS, blocks  # noqa: E402  (needs the path above)

# What a test can run, or feed to a program.
COMMANDS = ("sh", "bash", "yaml", "ini")
TESTS = ("packaging/checks", "packaging/boots", "test/interop", "test/install", "test/netns", "test/perf")


def tested():
    """Name of a block → the test files that ask for it."""
    found = {}
    for folder in TESTS:
        for name in sorted(os.listdir(os.path.join(ROOT, folder))) if os.path.isdir(os.path.join(ROOT, folder)) else ():
            if name.endswith(".py"):
                with open(os.path.join(ROOT, folder, name), encoding="utf-8") as file:
                    for asked in re.findall(r"\bblock\(\"([a-z0-9-]+)\"\)", file.read()):
                        found.setdefault(asked, []).append(f"{folder}/{name}")
    return found


class Documents(unittest.TestCase):
    def setUp(self):
        self.blocks = [one for document in DOCUMENTS for one in blocks(document)]

    def test_each_block_of_commands_is_run_or_says_why_not(self):
        by_test = tested()
        wrong = [f"{one.document}:{one.line}: {one.name or 'no name'}" for one in self.blocks
                 if one.language in COMMANDS and not one.untested and one.name not in by_test]
        self.assertEqual(wrong, [], "name it and run it in a test, by documents.block(), or say: untested: WHY")

    def test_no_test_asks_for_a_block_that_is_gone_or_untested(self):
        runs = {one.name for one in self.blocks if not one.untested}
        self.assertEqual({name: where for name, where in tested().items() if name not in runs}, {})

    def test_names_are_unique(self):
        names = [one.name for one in self.blocks if one.name]
        self.assertEqual(sorted(set(names)), sorted(names))

    def test_a_block_is_read(self):
        text = "a\n```sh one\nls -l  # why\n# all\nx '#'\n```\n```yaml two untested: needs a moon\na: 1\n```"
        one, other = blocks("x", text)
        self.assertEqual((one.language, one.name, one.untested), ("sh", "one", None))
        self.assertEqual((one.line, one.text), (2, "ls -l\nx '#'"))
        self.assertEqual((other.name, other.untested, other.text), ("two", "needs a moon", "a: 1"))
        for text in ("```sh a b\n```", "```sh\n"):
            with self.assertRaises(ValueError):
                blocks("x", text)


if __name__ == "__main__":
    unittest.main()
