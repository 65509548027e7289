"""The source tree as the checks of this folder read it."""

import functools
import os
import re
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', re.MULTILINE)


def files(*endings, under=""):
    """Paths (relative to the root) of the sources that end so."""
    return [name for name in all_files() if name.endswith(endings) and name.startswith(under)]


@functools.cache
def all_files():
    """What git tracks, and new files that it does not ignore."""
    listed = subprocess.run(["git", "-C", ROOT, "-c", f"safe.directory={ROOT}", "ls-files", "--cached", "--others",
                             "--exclude-standard"], capture_output=True, text=True, check=False)
    names = listed.stdout.split("\n") if listed.returncode == 0 else walked()
    return sorted(name for name in names if name and os.path.exists(os.path.join(ROOT, name)))


def walked():
    """The same without git (a tree from an archive): everything but build folders and hidden ones."""
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [entry for entry in folders if not entry.startswith((".", "build", "__pycache__"))]
        for name in names:
            yield os.path.relpath(os.path.join(folder, name), ROOT)


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def includes(path):
    """What a file includes, as it is written."""
    return INCLUDE.findall(read(path))
