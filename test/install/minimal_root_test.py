"""The install step and the build, from nothing: a minimal Debian 12 root that has neither compiler nor Python."""

import os
import shutil
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))

from debian_root import in_root, make_root  # noqa: E402  (needs the path above)
from tree_files import clean_copy  # noqa: E402


@unittest.skipIf(os.geteuid() != 0, "needs root")
@unittest.skipUnless(shutil.which("debootstrap"), "debootstrap is not installed")
class MinimalRoot(unittest.TestCase):
    timeout = 900  # the product is built without a compiler's cache, beside other tests

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="isthmus-root-", dir="/var/tmp")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        make_root(self.folder)

    def test_the_packages_it_names_are_all_that_a_build_needs(self):
        clean_copy(os.path.join(self.folder, "src"))
        status, text = in_root(self.folder, "cd /src && packaging/install-dependencies build quickstart && "
                                            "packaging/build && build/control/cli/isthmus version")
        self.assertEqual(status, 0, text[-4000:])
        self.assertIn("isthmus 0", text.splitlines()[-1].lower())
        self.assertNotIn("warning:", text)


if __name__ == "__main__":
    unittest.main()
