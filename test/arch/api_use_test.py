"""What dataplane/api declares is used: every function and every field of a struct, by someone other than the tests.

A scan for words, so a name that is common elsewhere passes. A field counts as used when a file outside dataplane/ names
it; a function also when a file of dataplane/ names it that does not define it.
"""

import collections
import re
import unittest

import cpp_scan
import source_tree

API = "dataplane/api/"
USERS = ("control/", "config/", "perf/", "xdp/")

# What stays although the scan finds no use.
ALLOWED = {
    "open_memory": "the device of pcap files, for test/golden and the fuzzers; no configuration opens one",
    "pcap_in": "of open_memory",
    "pcap_out": "of open_memory",
    "lane_frames": "of open_memory",
    "shares_with_host": "of open_memory",
    "first_port": "control/policy initializes PolicyEntry by position",
    "last_port": "control/policy initializes PolicyEntry by position",
    "deny_ingress": "control/policy initializes PolicyDefaults by position",
    "deny_egress": "control/policy initializes PolicyDefaults by position",
    "hand_down_round": "drives the hand-down of an engine without threads, for tests",
    "sweep": "of HandDownOptions; tests look more often than the gateway, which has the default",
    "jhash_3words": "part of maglev_packet_hash, which is inline",
}


def words_of(text):
    return set(re.findall(r"\w+", cpp_scan.blank(text)))


def unused(headers, sources):
    """(header, struct or namespace, name) of what nobody uses. `headers`, `sources`: {path: text}."""
    namers = collections.defaultdict(set)
    definers = collections.defaultdict(set)
    for path, text in sources.items():
        for word in words_of(text):
            namers[word].add(path)
        for scope in cpp_scan.scan(text):
            if scope.kind == "function":
                definers[scope.name.split("::")[-1]].add(path)
    found = []
    for header, text in headers.items():
        for scope in cpp_scan.scan(text):
            if scope.kind not in ("type", "namespace"):
                continue
            functions, fields = cpp_scan.declared(text, scope)
            found += [(header, scope.name, name) for name in functions if not namers[name] - definers[name]]
            found += [(header, scope.name, name) for name in fields
                      if not any(path.startswith(USERS) for path in namers[name])]
    return found


class ApiUse(unittest.TestCase):
    def test_the_check_itself_finds_unused_functions_and_fields(self):
        header = ("namespace isthmus {\nstruct S {\n  int a{1}, b = 2;\n  std::vector<int> c;  // d\n"
                  "  int e() const;\n};\nint f(int a);\n[[nodiscard]] inline int g() { return 1; }\nint h();\n"
                  "enum class E { kOne };\n}\n")
        sources = {"control/x.cc": "int x() { return s.a + s.e(); }",
                   "dataplane/y.cc": "int f(int) { return s.b + h(); }"}
        self.assertEqual([name for _, _, name in unused({"api.h": header}, sources)], ["f", "g", "b", "c"])

    def test_everything_is_used_or_stands_here_with_a_reason(self):
        headers = {path: source_tree.read(path) for path in source_tree.files(".h", under=API)}
        sources = {path: source_tree.read(path) for path in source_tree.files(".h", ".cc", ".c")
                   if path.startswith(("dataplane/", *USERS)) and not path.startswith(API)}
        found = unused(headers, sources)
        self.assertEqual([row for row in found if row[2] not in ALLOWED], [],
                         "remove these from the API, use them, or give a reason in ALLOWED")
        self.assertEqual(sorted(set(ALLOWED) - {name for _, _, name in found}), [], "used now: remove from ALLOWED")


if __name__ == "__main__":
    unittest.main()
