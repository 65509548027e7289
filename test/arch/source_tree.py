"""Access to the source tree for the checks of this folder."""

import functools
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "test", "support"))

from tree_files import tree_files  # noqa: E402  (needs the path above)

INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', re.MULTILINE)


def files(*endings, under=""):
    """Paths, relative to the root, of the files below `under` that end with one of `endings`."""
    return [name for name in all_files() if name.endswith(endings) and name.startswith(under)]


@functools.cache
def all_files():
    return tree_files()


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def includes(path):
    """The names that a file includes, as written."""
    return INCLUDE.findall(read(path))
