"""Files that are compiled as one unit do not see each other's helpers.

In one unit the anonymous namespaces of all files are the same: a helper of another file with the same name and other
parameters would silently join the overloads of a call. So such names must be unique within a unit."""

import collections
import glob
import os
import re
import unittest

import cpp_scan
import source_tree

INCLUDED = re.compile(r"^#include<(.*)>$", re.MULTILINE)


def helpers(text):
    """Names of the free functions of a file: those in an anonymous namespace, and the others."""
    hidden, visible = set(), set()
    for scope in cpp_scan.scan(text):
        if scope.kind != "function" or scope.inside("type") or "::" in scope.name or "." in scope.name:
            continue
        anonymous = any(outer.kind == "namespace" and not outer.name for outer in scope.outer)
        (hidden if anonymous else visible).add(scope.name)
    return hidden, visible


def clashes(files):
    """Lines for every name that one file hides and another file of the same unit defines too."""
    hidden, defined = collections.defaultdict(set), collections.defaultdict(set)
    for path, text in files.items():
        own, visible = helpers(text)
        for name in own:
            hidden[name].add(path)
        for name in own | visible:
            defined[name].add(path)
    return [f"{name}: {', '.join(sorted(defined[name]))}" for name in sorted(hidden) if len(defined[name]) > 1]


def units():
    """The sources of each unit, of the product and, where it was built, of the unit tests."""
    builds = os.environ.get("ISTHMUS_TEST_BUILDS", source_tree.ROOT)
    product = os.environ.get("ISTHMUS_BUILD", os.path.join(source_tree.ROOT, "build"))
    for folder in (product, os.path.join(builds, "build-test")):
        for path in sorted(glob.glob(os.path.join(folder, "**", "*-unity*.cpp"), recursive=True)):
            with open(path, encoding="utf-8") as file:
                sources = [os.path.relpath(name, source_tree.ROOT) for name in INCLUDED.findall(file.read())]
            sources = [name for name in sources if not name.startswith("..") and
                       os.path.exists(os.path.join(source_tree.ROOT, name))]
            if len(sources) > 1:
                yield os.path.basename(path), sources


class Units(unittest.TestCase):
    def test_the_check_itself_detects_a_shared_name(self):
        one = "namespace isthmus {\nnamespace {\nint name_of(int n) { return n; }\n}  // namespace\n}\n"
        two = "namespace isthmus {\nnamespace {\nint name_of(long n) {\n  return 2;\n}\n}  // namespace\n}\n"
        self.assertEqual(len(clashes({"a.cc": one, "b.cc": two})), 1)
        self.assertEqual(clashes({"a.cc": one, "b.cc": two.replace("name_of", "id_of")}), [])

    def test_no_helper_of_a_file_is_seen_by_another(self):
        found = list(units())
        if not found:
            self.skipTest("nothing has been built")
        wrong = [f"{unit}: {line}" for unit, sources in found
                 for line in clashes({path: source_tree.read(path) for path in sources})]
        self.assertEqual(wrong, [])
