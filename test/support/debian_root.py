"""Minimal Debian 12 roots: made once for each run of the tests, then copied."""

import atexit
import os
import shutil
import subprocess
import tempfile
import time
import unittest

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
_tarballs = {}  # of roots, by the packages that they have beyond the minimum


def run(*words, timeout=900):
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
                          timeout=timeout)
    return done.returncode, done.stdout


def mirror():
    """Where this machine takes its Debian packages from."""
    status, text = run("apt-get", "indextargets", "--format", "$(SITE) $(RELEASE)", "Created-By: Packages")
    sites = [line.split()[0] for line in text.splitlines() if line.endswith(f" {SUITE}")] if status == 0 else []
    return sites[0] if sites else MIRROR


def make_root(folder, packages=()):
    """Unpacks a root with these packages into `folder`. Skips the test where no Debian packages can be reached."""
    if packages not in _tarballs:
        os.chmod(folder, 0o755)  # its services are not all root's
        _bootstrap(folder, packages)
        kept = tempfile.mkdtemp(prefix="isthmus-root-", dir="/var/tmp")
        atexit.register(shutil.rmtree, kept, ignore_errors=True)
        tarball = os.path.join(kept, "root.tar")
        status, text = run("tar", "-C", folder, "--one-file-system", "-cf", tarball, ".")
        if status != 0:
            raise RuntimeError(text)
        _tarballs[packages] = tarball
    else:
        status, text = run("tar", "-C", folder, "-xpf", _tarballs[packages])
        if status != 0:
            raise RuntimeError(text)


def _bootstrap(folder, packages):
    beyond = [f"--include={','.join(packages)}"] if packages else []
    for attempts_left in (2, 1, 0):
        status, text = run("debootstrap", "--variant=minbase", *beyond, SUITE, folder, mirror())
        if status == 0:
            break
        if "retriev" not in text and "Release" not in text:
            raise RuntimeError(text)
        if attempts_left == 0:
            raise unittest.SkipTest(f"no Debian packages can be reached: {text.strip().splitlines()[-1]}")
        time.sleep(5)  # a mirror may be out of reach for a moment
        for entry in os.scandir(folder):
            run("rm", "-rf", "--one-file-system", entry.path)
    _copy_apt_settings(folder)


def _copy_apt_settings(folder):
    """What reaches the packages from this machine reaches them from the root."""
    for path in ("/etc/resolv.conf", "/etc/hosts"):
        shutil.copy(path, os.path.join(folder, path[1:]))
    for entry in ("sources.list", "sources.list.d/debian.sources"):
        if os.path.exists(os.path.join("/etc/apt", entry)):
            target = os.path.join(folder, "etc/apt", entry)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copy(os.path.join("/etc/apt", entry), target)


def in_root(folder, command):
    """Runs a command in the root, with the machine's network. Returns exit status and output."""
    return run("unshare", "--mount", "--pid", "--fork", "--kill-child", "bash", "-c", IN_ROOT, "bash", folder, command)
