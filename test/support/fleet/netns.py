"""Network namespaces and veth pairs, created with iproute2.

Processes enter with nsenter rather than `ip netns exec`, which would mount a fresh /sys without the BPF file system.
Commands that resolve names use `ip netns exec`, which installs the namespace's own resolv.conf.
"""

import glob
import os
import shutil

from .shell import Daemon, run

# Set before any device exists: forwarding on; no reverse-path filter (a VIP's traffic may return by another path); no
# duplicate address detection (a new address is usable at once); no router discovery.
NODE_SYSCTLS = {
    "net/ipv4/ip_forward": "1",
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "0",
    "net/ipv4/conf/all/send_redirects": "0",
    "net/ipv4/conf/default/send_redirects": "0",
    "net/ipv4/fib_multipath_hash_policy": "1",
    "net/ipv6/conf/all/forwarding": "1",
    "net/ipv6/conf/default/forwarding": "1",
    "net/ipv6/conf/default/accept_dad": "0",
    "net/ipv6/fib_multipath_hash_policy": "1",
}
POD_SYSCTLS = {
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "0",
    "net/ipv4/ip_local_port_range": "10000 65000",
    "net/ipv6/conf/default/accept_dad": "0",
    "net/ipv6/conf/default/accept_ra": "0",
}


class Namespace:
    """One network namespace: created by the constructor, deleted by remove()."""

    def __init__(self, name, sysctls):
        self.name = name
        self.path = f"/run/netns/{name}"
        run(["ip", "netns", "add", name])
        script = "".join(f"echo {value} > /proc/sys/{key}\n" for key, value in sysctls.items())
        self.run(["sh", "-ec", script])
        self.ip("link set lo up")

    def enter(self, args):
        """The command line that runs `args` in this namespace, with the host's file systems."""
        return ["nsenter", f"--net={self.path}", *args]

    def run(self, args, **options):
        return run(self.enter(args), **options)

    def exec(self, args, **options):
        """Runs a command that uses this namespace's resolv.conf."""
        return run(["ip", "netns", "exec", self.name, *args], **options)

    def start(self, name, args, log, env=None, stdin=None):
        return Daemon(name, self.enter(args), log, env, stdin)

    def ip(self, *commands, family=()):
        """Runs ip commands (each without the leading `ip`) in one batch; `family`: ("-6",) where ip cannot infer it."""
        run(["ip", *family, "-n", self.name, "-batch", "-"], stdin="\n".join(commands) + "\n")

    def resolver(self, server):
        """Makes commands run with exec() or `ip netns exec` resolve names with `server`."""
        folder = f"/etc/netns/{self.name}"
        os.makedirs(folder, exist_ok=True)
        with open(f"{folder}/resolv.conf", "w", encoding="ascii") as file:
            file.write(f"nameserver {server}\noptions timeout:1 attempts:3\n")

    def remove(self):
        remove_namespace(self.name)


def remove_namespace(name):
    """Deletes a namespace, its devices, what gateways pinned for them, and its resolv.conf; not an error if it does not
    exist."""
    try:
        number = os.stat(f"/run/netns/{name}").st_ino
    except OSError:
        number = None
    run(["ip", "netns", "del", name], check=False)
    for pin in glob.glob(f"/sys/fs/bpf/isthmus/*{number}-*"):
        os.unlink(pin)
    shutil.rmtree(f"/etc/netns/{name}", ignore_errors=True)
    try:
        os.rmdir("/etc/netns")
    except OSError:
        pass  # absent, or still used by other namespaces


def connect(left, left_device, right, right_device, queues=1):
    """A veth pair between two namespaces, with checksum and segmentation offload disabled.

    A frame redirected to user space by XDP loses its metadata: a checksum left for the device to fill in would stay
    wrong, and a segment longer than the MTU could not be received at all.
    """
    options = f"numtxqueues {queues} numrxqueues {queues}"
    run(["ip", "link", "add", left_device, "netns", left.name, *options.split(), "type", "veth", "peer", "name",
         right_device, "netns", right.name, *options.split()])
    for netns, device in ((left, left_device), (right, right_device)):
        netns.run(["ethtool", "-K", device, "tx", "off", "tso", "off", "gso", "off"])
        if queues > 1:
            netns.run(["ethtool", "-L", device, "rx", str(queues), "tx", str(queues)])
        netns.ip(f"link set {device} up")
