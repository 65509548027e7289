"""The Debian packages as they are built: equal bytes from two clones, nothing for lintian to say."""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import unittest

from built_packages import ROOT, build, package, packages


def run(*words):
    return subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=600)


def hashes(paths):
    found = {}
    for path in paths:
        if path.endswith(".deb"):
            with open(path, "rb") as file:
                found[os.path.basename(path)] = hashlib.sha256(file.read()).hexdigest()
    return found


@unittest.skipUnless(shutil.which("dpkg-buildpackage"), "dpkg-dev is not installed")
class Built(unittest.TestCase):
    timeout = 2400  # the product is built three times, once at least without the compiler's cache

    def test_two_builds_from_two_clones_are_equal(self):
        made = []
        with tempfile.TemporaryDirectory(prefix="isthmus-clones-", dir="/var/tmp") as work:
            for name in ("one", "another/and/deeper"):
                clone = os.path.join(work, name)
                done = run("git", "-c", f"safe.directory={ROOT}", "clone", "-q", ROOT, clone)
                self.assertEqual(done.returncode, 0, done.stdout)
                # The second compiles everything anew.
                made.append(hashes(build(clone, os.path.join(work, f"{len(made)}"),
                                         **({"CCACHE_RECACHE": "1"} if made else {}))))
        self.assertEqual({name.split("_")[0] for name in made[0]},
                         {"isthmus", "isthmus-dbgsym", "isthmus-dpdk", "isthmus-dpdk-dbgsym"})
        self.assertEqual(made[0], made[1])

    @unittest.skipUnless(shutil.which("lintian"), "lintian is not installed")
    def test_lintian_has_nothing_to_say(self):
        changes = [os.path.join(packages(), name) for name in os.listdir(packages()) if name.endswith(".changes")]
        done = run("lintian", "--allow-root", "--fail-on", "error,warning", *changes)
        self.assertEqual((done.returncode, done.stdout), (0, ""))

    def test_it_holds_the_program_and_what_belongs_to_it_and_no_test_tools(self):
        names = run("dpkg-deb", "--contents", package()).stdout
        programs = re.findall(r"^-..x.* \./(\S+)$", names, re.MULTILINE)
        self.assertEqual(programs, ["usr/bin/isthmus"])
        for path in ("lib/systemd/system/isthmus.service", "lib/systemd/system/isthmus@.service",
                     "usr/share/man/man8/isthmus.8.gz", "usr/share/man/man5/isthmus.yaml.5.gz",
                     "usr/share/bash-completion/completions/isthmus", "usr/share/zsh/vendor-completions/_isthmus",
                     "usr/share/fish/vendor_completions.d/isthmus.fish", "usr/share/doc/isthmus/examples/vm.yaml"):
            self.assertIn(f" ./{path}\n", names)
        conffiles = run("dpkg-deb", "--info", package(), "conffiles").stdout.split()
        self.assertEqual(conffiles, ["/etc/isthmus/gateway.yaml"])

    def test_only_the_package_with_the_module_needs_dpdk(self):
        def depends(name):
            return run("dpkg-deb", "--field", package(name), "Depends").stdout

        version = run("dpkg-deb", "--field", package(), "Version").stdout.strip()
        self.assertNotIn("librte-", depends("isthmus"))
        self.assertIn(f"isthmus (= {version})", depends("isthmus-dpdk"))
        for library in ("librte-eal23", "librte-ethdev23", "librte-mbuf23", "librte-mempool23"):
            self.assertIn(library, depends("isthmus-dpdk"))
        names = run("dpkg-deb", "--contents", package("isthmus-dpdk")).stdout
        for path in ("usr/lib/isthmus/isthmus-dpdk.so", "lib/udev/rules.d/60-isthmus-dpdk.rules",
                     "lib/systemd/system/isthmus.service.d/dpdk.conf",
                     "lib/systemd/system/isthmus@.service.d/dpdk.conf"):
            self.assertIn(f" ./{path}\n", names)


if __name__ == "__main__":
    unittest.main()
