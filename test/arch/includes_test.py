"""Include directions: who may look into whom. One row a folder; what a row does not name is refused."""

import unittest

import source_tree

OURS = ("dataplane/", "xdp/", "control/", "config/", "perf/", "test/")

# Folder: what its files may include of ours. The longest folder that fits a file is its row.
MAY_INCLUDE = {
    "dataplane/": ("dataplane/", "xdp/abi.h", "xdp/loader/"),
    "xdp/": ("xdp/",),
    "xdp/loader/": ("xdp/", "dataplane/base/", "dataplane/net/", "dataplane/api/devices.h", "dataplane/io/device.h",
                    "dataplane/io/unique_fd.h"),
    "config/": ("config/", "dataplane/api/"),
    "control/": ("control/", "config/model/", "dataplane/api/"),
    "control/source/": ("control/", "config/model/", "config/yaml/", "dataplane/api/"),
    "control/daemon/": ("control/", "config/", "dataplane/api/"),
    "control/cli/": ("control/", "config/", "dataplane/api/"),
    "perf/": OURS[:-1],
    "test/": OURS[:4] + ("test/",),
}
# Areas of test/unit whose subject is control or config obey the rule of their subject.
for area in ("config", "source", "model", "kernel", "health", "admin", "daemon"):
    MAY_INCLUDE[f"test/unit/{area}/"] = ("control/", "config/", "dataplane/api/", "test/")

# Libraries that the dataplane must not know: configuration, logging, remote calls.
NOT_IN_DATAPLANE = ("yaml-cpp/", "nlohmann/", "spdlog/", "fmt/", "CLI/", "grpcpp/", "google/protobuf", "httplib",
                    "boost/asio", "boost/beast")


def row_of(path):
    fitting = [folder for folder in MAY_INCLUDE if path.startswith(folder)]
    return max(fitting, key=len) if fitting else None


def refused(path, names):
    """The includes of `path` that its row does not allow."""
    row = row_of(path)
    return [name for name in names if name.startswith(OURS) and (row is None or not name.startswith(MAY_INCLUDE[row]))]


class Includes(unittest.TestCase):
    def test_the_rule_itself_refuses_a_wrong_direction(self):
        for path, name in (("dataplane/path/track.cc", "control/model/objects.h"),
                           ("control/compile/x.cc", "dataplane/flow/flow_table.h"),
                           ("control/compile/x.cc", "config/load/load.h"),
                           ("perf/micro/x.cc", "test/support/builder.h")):
            self.assertEqual(refused(path, [name]), [name])
        self.assertEqual(refused("control/daemon/x.cc", ["config/load/load.h", "dataplane/api/engine.h"]), [])

    def test_every_file_includes_only_what_its_folder_may(self):
        wrong = []
        sources = source_tree.files(".h", ".cc", ".c", ".def")
        self.assertGreater(len(sources), 50)
        for path in sources:
            wrong += [f"{path} includes {name}" for name in refused(path, source_tree.includes(path))]
        self.assertEqual(wrong, [])

    def test_our_files_are_included_by_their_full_path(self):
        sources = set(source_tree.files(".h", ".cc"))
        wrong = [f"{path} includes {name}" for path in sources if not path.startswith("test/")
                 for name in source_tree.includes(path)
                 if "/" not in name and f"{path.rsplit('/', 1)[0]}/{name}" in sources]
        self.assertEqual(wrong, [])

    def test_the_dataplane_knows_no_configuration_logging_or_remote_calls(self):
        wrong = [f"{path} includes {name}" for path in source_tree.files(".h", ".cc", under="dataplane/")
                 for name in source_tree.includes(path) if name.startswith(NOT_IN_DATAPLANE)]
        self.assertEqual(wrong, [])

    def test_logging_stays_out_of_headers(self):
        wrong = [path for path in source_tree.files(".h")
                 if any(name.startswith("spdlog/") for name in source_tree.includes(path))]
        self.assertEqual(wrong, [])
