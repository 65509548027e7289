"""Functions of at most 60 lines and files of at most 500, but for those that long_things.txt lists with a reason."""

import ast
import unittest

import cpp_scan
import source_tree

LIST = "test/arch/long_things.txt"
MAX_FUNCTION_LINES, MAX_FILE_LINES = 60, 500
FILE = "-"


def cpp_functions(text):
    """(name with its enclosing types, lines) of each function."""
    for scope in cpp_scan.scan(text):
        if scope.kind == "function":
            types = [outer.name for outer in scope.outer if outer.kind == "type"]
            yield "::".join([*types, scope.name]), scope.last - scope.first + 1


def python_functions(text):
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.name, node.end_lineno - node.lineno + 1


def long_in(path, text):
    """{(path, function or FILE): lines} of what exceeds the limits."""
    functions = python_functions(text) if path.endswith(".py") else cpp_functions(text)
    found = {(path, name): lines for name, lines in functions if lines > MAX_FUNCTION_LINES}
    if text.count("\n") > MAX_FILE_LINES:
        found[(path, FILE)] = text.count("\n")
    return found


def listed():
    """{(path, function or FILE): reason}."""
    rows = [line.split("|") for line in source_tree.read(LIST).splitlines() if line and not line.startswith("#")]
    return {(path.strip(), name.strip()): reason.strip() for path, name, reason in rows}


class LongThings(unittest.TestCase):
    def test_the_check_itself_measures_functions_and_files(self):
        body = "  call();\n" * 60
        method = (f"namespace a {{\nclass B {{\n  int c(int d)\n      const {{\n{body}  }}\n"
                  "  int e() { return {1}; }\n};\n}\n")
        self.assertEqual(long_in("x.cc", method), {("x.cc", "B::c"): 63})
        self.assertEqual(long_in("x.cc", f"B::B(int d) : d_{{d}}, e_(d) {{\n{body}}}\n"), {("x.cc", "B::B"): 62})
        self.assertEqual(long_in("x.cc", f"const std::vector<int> kRows = {{\n{body}}};\n"), {})
        text = f"const char* kText = R\"({{\n{body})\";\n// void f() {{\nint g() {{\n}}\n"
        self.assertEqual(long_in("x.cc", text), {})
        self.assertEqual(long_in("x.py", f"def f():\n{'    g()' + chr(10)}" * 60), {})
        self.assertEqual(long_in("x.py", "def f():\n" + "    g()\n" * 60), {("x.py", "f"): 61})
        self.assertEqual(long_in("x.h", "\n" * 501), {("x.h", FILE): 501})

    def test_long_functions_and_files_are_listed_with_a_reason_and_listed_ones_are_long(self):
        found = {}
        for path in source_tree.files(".h", ".cc", ".c", ".py"):
            found |= long_in(path, source_tree.read(path))
        allowed = listed()
        self.assertEqual({key: lines for key, lines in found.items() if key not in allowed}, {},
                         f"split these, or list them in {LIST} with the reason why they are better in one piece")
        self.assertEqual(sorted(set(allowed) - set(found)), [], f"short again, or gone: remove these rows from {LIST}")
        self.assertEqual([key for key, reason in allowed.items() if len(reason) < 10], [], "rows without a reason")


if __name__ == "__main__":
    unittest.main()
