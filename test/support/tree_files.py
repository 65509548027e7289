"""The files of the repository, as a clone would have them."""

import os
import shutil
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def tree_files():
    """Paths relative to the root: what git tracks, and new files that it does not ignore."""
    listed = subprocess.run(["git", "-C", ROOT, "-c", f"safe.directory={ROOT}", "ls-files", "--cached", "--others",
                             "--exclude-standard"], capture_output=True, text=True, check=False)
    names = listed.stdout.split("\n") if listed.returncode == 0 else _walked()
    return sorted(name for name in names if name and os.path.exists(os.path.join(ROOT, name)))


def _walked():
    """The same without git (a tree from an archive): everything but build folders and hidden ones."""
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [entry for entry in folders if not entry.startswith((".", "build", "__pycache__"))
                      or os.path.relpath(os.path.join(folder, entry), ROOT) == ".ci"]
        for name in names:
            yield os.path.relpath(os.path.join(folder, name), ROOT)


def clean_copy(target):
    """Copies them to the folder `target`: no build folder, no cache, nothing that git ignores."""
    for name in tree_files():
        path = os.path.join(target, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        shutil.copy2(os.path.join(ROOT, name), path, follow_symlinks=False)
