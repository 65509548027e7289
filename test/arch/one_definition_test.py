"""One definition: no two files of the product define types of the same qualified name in namespace isthmus.

The linker does not report two such types in different .cc files; it merges their inline functions. Nested types and
those in anonymous namespaces do not count: the former are covered by their outer type, the latter local to their file.
"""

import collections
import unittest

import cpp_scan
import source_tree

PRODUCT = ("dataplane/", "xdp/", "control/", "config/")


def types_of(text):
    """Qualified names of the types that a file defines at namespace level, outside anonymous namespaces."""
    return {scope.qualified for scope in cpp_scan.scan(text)
            if scope.kind in ("type", "enum") and scope.name and "::" not in scope.name
            and scope.outer and scope.outer[0].name.split("::")[0] == "isthmus"
            and all(outer.kind == "namespace" and outer.name for outer in scope.outer)}


def duplicates(texts):
    """{qualified name: paths} of the types that several of the files {path: text} define."""
    definitions = collections.defaultdict(list)
    for path, text in texts.items():
        for name in types_of(text):
            definitions[name].append(path)
    return {name: paths for name, paths in definitions.items() if len(paths) > 1}


class OneDefinition(unittest.TestCase):
    def test_the_check_itself_tells_definitions_from_declarations_and_local_types(self):
        texts = {"a.h": "namespace isthmus {\nstruct A {\n  struct N {};\n};\n"
                        "enum class E : int { kOne };\nclass F;\n}\n",
                 "b.cc": "namespace isthmus::b {\nstruct A {};\n}\n"
                         "namespace isthmus {\nnamespace {\nstruct E {};\n}\n}\n",
                 "c.cc": "namespace isthmus {\nclass A final : public B {};\ntemplate <typename T>\nclass F {};\n}\n",
                 "d.cc": "namespace isthmus {\ntemplate <>\nclass F<int> {};\nstruct A::N {};\n"
                         "enum class E { kTwo };\n}\n"}
        self.assertEqual(duplicates(texts), {"isthmus::A": ["a.h", "c.cc"], "isthmus::E": ["a.h", "d.cc"]})

    def test_no_type_of_the_product_is_defined_twice(self):
        texts = {path: source_tree.read(path) for path in source_tree.files(".h", ".cc") if path.startswith(PRODUCT)}
        self.assertGreater(sum(len(types_of(text)) for text in texts.values()), 200)
        self.assertEqual(duplicates(texts), {}, "rename one, or put it into an anonymous namespace")


if __name__ == "__main__":
    unittest.main()
