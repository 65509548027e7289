"""A BPF file system at /sys/fs/bpf, where gateways pin their programs, for a machine that has none."""

import os

from .shell import run

FOLDER = "/sys/fs/bpf"


class BpfFileSystem:
    """There until close(), which takes what is pinned in it away; the machine's own, if it has one, stays."""

    def __init__(self):
        self.ours = not os.path.ismount(FOLDER)
        if self.ours:
            run(["mount", "-t", "bpf", "bpf", FOLDER])

    def close(self):
        if self.ours:
            run(["umount", FOLDER])
