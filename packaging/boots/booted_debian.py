"""A Debian that is booted in a container, in a network namespace of the fleet: where packages are installed and units
run as on a VM."""

import os
import shutil
import tempfile

from debian_root import in_root, make_root
from fleet.shell import CommandError, Daemon, run, wait_until

# Beyond the minimum: what a VM image has.
PACKAGES = ("dbus", "iproute2", "procps", "systemd", "systemd-sysv")
CAPABILITIES = "CAP_NET_ADMIN,CAP_NET_RAW,CAP_BPF,CAP_PERFMON,CAP_IPC_LOCK,CAP_SYS_NICE"


class Debian:
    """Made by install(), which needs the machine's network, then booted in `netns`."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="isthmus-debian-", dir="/var/tmp")
        self.daemon = None
        self.leader = None
        self.log = os.path.join("/var/tmp", os.path.basename(self.folder) + ".log")

    def install(self, packages):
        """The files of packages, and what they depend on, by apt."""
        make_root(self.folder, PACKAGES)
        for path in packages:
            shutil.copy(path, os.path.join(self.folder, "root"))
        names = " ".join(f"/root/{os.path.basename(path)}" for path in packages)
        status, text = in_root(self.folder, f"apt-get update -qq && DEBIAN_FRONTEND=noninteractive "
                                            f"apt-get install -y --no-install-recommends {names}")
        if status != 0:
            raise CommandError(text)
        return text

    def path(self, name):
        return os.path.join(self.folder, name.lstrip("/"))

    def write(self, name, text, mode=0o644):
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, mode)

    def boot(self, netns, binds=()):
        command = ["systemd-nspawn", "--quiet", "-D", self.folder, "--register=no", "--keep-unit", "--boot",
                   f"--network-namespace-path={netns.path}", f"--capability={CAPABILITIES}", "--resolv-conf=off",
                   "--system-call-filter=bpf perf_event_open", *(f"--bind-ro={bind}" for bind in binds)]
        self.daemon = Daemon("debian", command, self.log)
        wait_until(self._find_leader, 60, what=f"the container's first process:\n{self.daemon.log_tail()}")
        wait_until(lambda: self.run("systemctl is-active multi-user.target", check=False).stdout == "active\n", 90,
                   what="multi-user.target")

    def _find_leader(self):
        if not self.daemon.alive:
            raise CommandError(f"systemd-nspawn: exit {self.daemon.popen.returncode}\n{self.daemon.log_tail()}")
        with open(f"/proc/{self.daemon.pid}/task/{self.daemon.pid}/children", encoding="ascii") as file:
            children = file.read().split()
        self.leader = int(children[0]) if children else None
        return self.leader is not None and os.path.exists(f"/proc/{self.leader}/root/run/systemd/system")

    def run(self, command, check=True, timeout=120):
        """A shell command inside."""
        return run(["nsenter", "--target", str(self.leader), "--all", "--", "/usr/bin/env", "-i",
                    "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "TERM=dumb", "DEBIAN_FRONTEND=noninteractive",
                    "bash", "-c", command], check=check, timeout=timeout)

    def seen(self, path):
        """A path inside, as it is seen from outside: other mounts of the booted system included."""
        return f"/proc/{self.leader}/root{path}"

    def journal(self, lines=40):
        return self.run(f"journalctl --no-pager -o cat -n {lines} -u 'isthmus*'", check=False).stdout

    def remove(self):
        if self.daemon is not None and self.daemon.alive:
            self.run("systemctl poweroff", check=False)
            try:
                self.daemon.popen.wait(30)
            except Exception:  # pylint: disable=broad-except
                self.daemon.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
        if os.path.exists(self.log):
            os.unlink(self.log)
