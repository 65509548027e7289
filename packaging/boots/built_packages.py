"""The Debian packages of this tree, built once for each run of the tests."""

import atexit
import os
import shutil
import subprocess
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_built = []


def build(root, folder, **environment):
    """Builds those of the clone at `root` into `folder`. Returns the paths of all that is made."""
    done = subprocess.run([os.path.join(root, "packaging", "deb", "build"), folder], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False, timeout=3600,
                          env={**os.environ, **environment})
    if done.returncode != 0:
        raise AssertionError(done.stdout)
    return sorted(line for line in done.stdout.splitlines() if line.startswith(folder))


def packages():
    """The folder of this tree's. ISTHMUS_PACKAGES: a folder that has them already."""
    if not _built:
        given = os.environ.get("ISTHMUS_PACKAGES")
        if not given:
            given = tempfile.mkdtemp(prefix="isthmus-packages-", dir="/var/tmp")
            atexit.register(shutil.rmtree, given, ignore_errors=True)
            build(ROOT, given)
        _built.append(given)
    return _built[0]


def package(name="isthmus"):
    """The path of that package."""
    folder = packages()
    return next(os.path.join(folder, entry) for entry in sorted(os.listdir(folder))
                if entry.startswith(f"{name}_") and entry.endswith(".deb"))
