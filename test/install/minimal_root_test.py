"""The install step and the build, from nothing: a minimal Debian 12 root that has neither compiler nor Python."""

import os
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))

from tree_files import clean_copy  # noqa: E402  (needs the path above)

SUITE = "bookworm"
MIRROR = "http://deb.debian.org/debian"
# A mount and a process namespace of its own: nothing that a package starts outlives the test.
IN_ROOT = """\
set -e
mount -t proc proc "$1/proc"
mount --rbind /dev "$1/dev"
mount -t tmpfs tmpfs "$1/run"
exec chroot "$1" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb bash -c "$2"
"""


def run(*words, timeout=900):
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
                          timeout=timeout)
    return done.returncode, done.stdout


def mirror():
    """Where this machine takes its Debian packages from."""
    status, text = run("apt-get", "indextargets", "--format", "$(SITE) $(RELEASE)", "Created-By: Packages")
    sites = [line.split()[0] for line in text.splitlines() if line.endswith(f" {SUITE}")] if status == 0 else []
    return sites[0] if sites else MIRROR


@unittest.skipIf(os.geteuid() != 0, "needs root")
@unittest.skipUnless(shutil.which("debootstrap"), "debootstrap is not installed")
class MinimalRoot(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="isthmus-root-", dir="/var/tmp")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        status, text = run("debootstrap", "--variant=minbase", SUITE, self.folder, mirror())
        if status != 0:
            if "retriev" in text or "Release" in text:
                self.skipTest(f"no Debian packages can be reached: {text.strip().splitlines()[-1]}")
            self.fail(text)

    def copy_apt_settings(self):
        """What reaches the packages from this machine reaches them from the root."""
        for path in ("/etc/resolv.conf", "/etc/hosts"):
            shutil.copy(path, os.path.join(self.folder, path[1:]))
        for entry in ("sources.list", "sources.list.d/debian.sources"):
            if os.path.exists(os.path.join("/etc/apt", entry)):
                target = os.path.join(self.folder, "etc/apt", entry)
                os.makedirs(os.path.dirname(target), exist_ok=True)
                shutil.copy(os.path.join("/etc/apt", entry), target)

    def in_root(self, command):
        return run("unshare", "--mount", "--pid", "--fork", "--kill-child", "bash", "-c", IN_ROOT, "bash", self.folder,
                   command)

    def test_the_packages_it_names_are_all_that_a_build_needs(self):
        self.copy_apt_settings()
        clean_copy(os.path.join(self.folder, "src"))
        status, text = self.in_root("cd /src && packaging/install-dependencies build quickstart && packaging/build && "
                                    "build/control/cli/isthmus version")
        self.assertEqual(status, 0, text[-4000:])
        self.assertIn("isthmus 0", text.splitlines()[-1].lower())
        self.assertNotIn("warning:", text)


if __name__ == "__main__":
    unittest.main()
