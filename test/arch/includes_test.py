"""Include directions: one row per folder lists what its files may include of ours; everything else is an error."""

import unittest

import source_tree

OURS = ("dataplane/", "xdp/", "control/", "config/", "perf/", "test/")

# The layers of the data plane, lowest first: a folder includes those below it.
BASE = ("dataplane/base/",)
NET = (*BASE, "dataplane/net/")
STATS = (*NET, "dataplane/api/", "dataplane/stats/")
PACKET = (*STATS, "dataplane/packet/")
TABLES = (*PACKET, "dataplane/tables/", "xdp/abi.h")
CONNTRACK = (*PACKET, "dataplane/conntrack/", "xdp/abi.h")
FRAGMENTS = (*PACKET, "dataplane/fragments/")
ENCAP = (*PACKET, "dataplane/encap/")
PUBLISH = (*TABLES, "dataplane/conntrack/", "dataplane/fragments/", "dataplane/encap/", "dataplane/publish/",
           "dataplane/io/device.h")
REPORT = (*PUBLISH, "dataplane/report/")
SLOWPATH = (*REPORT, "dataplane/slowpath/")
HANDDOWN = (*SLOWPATH, "dataplane/handdown/", "xdp/abi.h", "xdp/loader/kernel_flows.h")
ORIGINATE = (*REPORT, "dataplane/originate/")
PATH = (*SLOWPATH, "dataplane/originate/", "dataplane/path/")

# The list of counters, from which each side makes its struct.
COUNTERS = "dataplane/stats/counters.def"

# Folder: prefixes that its files may include. The row of the longest matching folder applies.
MAY_INCLUDE = {
    "dataplane/base/": BASE,
    "dataplane/net/": NET,
    "dataplane/api/": (*NET, "dataplane/api/", "dataplane/io/device.h", "dataplane/io/unique_fd.h", COUNTERS),
    "dataplane/stats/": STATS,
    "dataplane/packet/": PACKET,
    "dataplane/tables/": TABLES,
    "dataplane/conntrack/": CONNTRACK,
    "dataplane/fragments/": FRAGMENTS,
    "dataplane/encap/": ENCAP,
    "dataplane/publish/": PUBLISH,
    "dataplane/handdown/": HANDDOWN,
    "dataplane/report/": REPORT,
    "dataplane/slowpath/": SLOWPATH,
    "dataplane/originate/": ORIGINATE,
    "dataplane/path/": PATH,
    "dataplane/worker/": (*PATH, "dataplane/worker/", "dataplane/handdown/", "dataplane/io/device.h"),
    "dataplane/io/": (*PACKET, "dataplane/io/", "xdp/abi.h", "xdp/loader/"),
    "xdp/": ("xdp/", COUNTERS),
    "xdp/loader/": ("xdp/", "dataplane/base/", "dataplane/net/", "dataplane/api/devices.h", "dataplane/io/device.h",
                    "dataplane/io/unique_fd.h", COUNTERS),
    "config/": ("config/", "dataplane/api/"),
    "control/": ("control/", "config/files/", "config/model/", "dataplane/api/"),
    "control/source/": ("control/", "config/files/", "config/model/", "config/yaml/", "dataplane/api/"),
    "control/observe/": ("control/", "config/files/", "config/model/", "config/yaml/", "dataplane/api/"),
    "control/daemon/": ("control/", "config/", "dataplane/api/"),
    "control/doctor/": ("control/", "config/", "dataplane/api/"),
    "control/cli/": ("control/", "config/", "dataplane/api/"),
    "perf/": OURS[:-1],
    "test/": OURS[:4] + ("test/",),
}
# Unit tests of control and config obey the rules of what they test.
for area in ("config", "source", "model", "kernel", "health", "admin", "daemon", "machine", "doctor"):
    MAY_INCLUDE[f"test/unit/{area}/"] = ("control/", "config/", "dataplane/api/", "test/")
# The veth pair is made so that XDP programs can send by it, which their own probe shows.
MAY_INCLUDE["test/unit/kernel/"] += ("xdp/loader/",)

# Libraries that the dataplane must not use: configuration, logging, remote calls.
NOT_IN_DATAPLANE = ("yaml-cpp/", "nlohmann/", "spdlog/", "fmt/", "CLI/", "grpcpp/", "google/protobuf", "httplib",
                    "boost/asio", "boost/beast")


def row_of(path):
    matching = [folder for folder in MAY_INCLUDE if path.startswith(folder)]
    return max(matching, key=len) if matching else None


def forbidden(path, names):
    """The includes of `path` that its row does not allow."""
    row = row_of(path)
    return [name for name in names if name.startswith(OURS) and (row is None or not name.startswith(MAY_INCLUDE[row]))]


class Includes(unittest.TestCase):
    def test_the_check_itself_detects_a_wrong_direction(self):
        for path, name in (("dataplane/path/lookup.cc", "control/model/objects.h"),
                           ("control/compile/x.cc", "dataplane/conntrack/flow_table.h"),
                           ("control/compile/x.cc", "config/load/load.h"),
                           ("perf/micro/x.cc", "test/support/builder.h")):
            self.assertEqual(forbidden(path, [name]), [name])
        self.assertEqual(forbidden("control/daemon/x.cc", ["config/load/load.h", "dataplane/api/engine.h"]), [])

    def test_every_file_includes_only_what_its_folder_may(self):
        wrong = []
        sources = source_tree.files(".h", ".cc", ".c", ".def")
        self.assertGreater(len(sources), 50)
        for path in sources:
            wrong += [f"{path} includes {name}" for name in forbidden(path, source_tree.includes(path))]
        self.assertEqual(wrong, [])

    def test_includes_of_our_files_use_the_full_path(self):
        sources = set(source_tree.files(".h", ".cc"))
        wrong = [f"{path} includes {name}" for path in sources if not path.startswith("test/")
                 for name in source_tree.includes(path)
                 if "/" not in name and f"{path.rsplit('/', 1)[0]}/{name}" in sources]
        self.assertEqual(wrong, [])

    def test_the_dataplane_uses_no_configuration_logging_or_rpc_library(self):
        wrong = [f"{path} includes {name}" for path in source_tree.files(".h", ".cc", under="dataplane/")
                 for name in source_tree.includes(path) if name.startswith(NOT_IN_DATAPLANE)]
        self.assertEqual(wrong, [])

    def test_prefetches_are_those_that_no_compiler_leaves_out(self):
        own = "dataplane/base/prefetch.h"
        files = [path for path in source_tree.files(".h", ".cc", under="dataplane/") if path != own]
        others = ("__builtin_prefetch", "_mm_prefetch")
        self.assertEqual([path for path in files if any(name in source_tree.read(path) for name in others)], [],
                         f"use {own}")

    def test_headers_do_not_include_the_logging_library(self):
        wrong = [path for path in source_tree.files(".h")
                 if any(name.startswith("spdlog/") for name in source_tree.includes(path))]
        self.assertEqual(wrong, [])
