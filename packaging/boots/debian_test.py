"""The Debian package in a booted Debian, as one gateway of the fleet: installed, run, upgraded, broken, removed."""

import ctypes
import os
import shutil
import signal
import sys
import tempfile
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
for folder in ("test/support", "test/netns"):
    sys.path.insert(0, os.path.join(ROOT, folder))

from booted_debian import Debian  # noqa: E402  (needs the path above)
from built_packages import package  # noqa: E402
from fleet import plan  # noqa: E402
from fleet.numbered import AFTER, Numbered, west_and_north  # noqa: E402
from fleet.shell import run, wait_until  # noqa: E402
from fleet_case import FleetCase  # noqa: E402
from packaged_gateway import PackagedGateway  # noqa: E402

NAME = "west-1"
PTRACE_DETACH, PTRACE_SEIZE, PTRACE_INTERRUPT = 17, 0x4206, 0x4207


def earlier(package, folder):
    """The same package with a lower version and another unit."""
    tree = os.path.join(folder, "earlier")
    run(["dpkg-deb", "--raw-extract", package, tree])
    control = os.path.join(tree, "DEBIAN", "control")
    with open(control, encoding="utf-8") as file:
        text = file.read()
    with open(control, "w", encoding="utf-8") as file:
        file.write(text.replace("\nVersion: ", "\nVersion: 0.0.1~before"))
    run(["sed", "-i", "s/^WatchdogSec=.*/WatchdogSec=29/", os.path.join(tree, "lib/systemd/system/isthmus.service")])
    made = os.path.join(folder, "isthmus-earlier.deb")
    run(["dpkg-deb", "--root-owner-group", "--build", tree, made])
    return made


class Stopped:
    """A thread of another process, stopped as by a debugger until resume()."""

    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]

    def __init__(self, thread):
        self.thread = thread
        for request in (PTRACE_SEIZE, PTRACE_INTERRUPT):
            if self.libc.ptrace(request, thread, None, None) != 0:
                raise OSError(ctypes.get_errno(), "ptrace")
        os.waitpid(thread, 0x40000000)  # __WALL

    def resume(self):
        """Once or several times, also of one that has been killed."""
        self.libc.ptrace(PTRACE_DETACH, self.thread, None, None)
        try:
            os.waitpid(self.thread, 0x40000000 | os.WNOHANG)
        except ChildProcessError:
            pass


@unittest.skipUnless(shutil.which("systemd-nspawn") and shutil.which("debootstrap"),
                     "systemd-container or debootstrap is not installed")
class PackageLife(Numbered, FleetCase):
    """One life of a package, in the order of the letters."""

    settings = {"health": "{interval: 200ms}"}

    @classmethod
    def make_fleet(cls):
        cls.work = tempfile.mkdtemp(prefix="isthmus-packages-")
        cls.addClassCleanup(shutil.rmtree, cls.work)
        cls.package = package()
        cls.debian = Debian()
        cls.addClassCleanup(cls.debian.remove)
        cls.debian.install([earlier(cls.package, cls.work)])
        shutil.copy(cls.package, cls.debian.path("/root/isthmus.deb"))
        fleet = super().make_fleet()
        usual = fleet.start_gateways

        def start_gateways():
            usual([each.name for each in plan.gateways() if each.name != NAME])
            planned = next(each for each in plan.gateways() if each.name == NAME)
            cls.gateway = PackagedGateway(cls.debian, planned, fleet.node(planned.cluster, planned.node), fleet.program,
                                          fleet.folder, fleet.hub, fleet.settings)
            cls.debian.boot(cls.gateway.netns, [f"{fleet.hub.folder}:/var/lib/isthmus/hub"])
            fleet.gateways[NAME] = cls.gateway
            cls.gateway.start()

        fleet.start_gateways = start_gateways
        return fleet

    def inside(self, command, check=True):
        return self.debian.run(command, check=check).stdout.strip()

    def assert_complete(self, pairs):
        time.sleep(AFTER)
        try:
            super().assert_complete(pairs)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.debian.journal()}") from error

    def process(self, pid=None):
        return PackagedGateway.outside(pid or self.gateway.pid, self.debian.leader)

    def test_a_it_runs_as_a_user_of_its_own_with_few_rights(self):
        with open(f"/proc/{self.process()}/status", encoding="ascii") as file:
            status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
        self.assertNotEqual(status["Uid"].split()[0], "0")
        rights = sum(1 << number for number in (12, 13, 14, 38, 39))  # NET_ADMIN NET_RAW IPC_LOCK PERFMON BPF
        self.assertEqual({int(status[kind], 16) for kind in ("CapEff", "CapPrm", "CapBnd")}, {rights})
        self.assertEqual(status["NoNewPrivs"], "1")
        self.assertEqual(status["Seccomp"], "2")
        self.assertEqual(self.gateway.status()["problems"], [])
        self.assertEqual(self.inside("stat -c '%U:%G %a' /run/isthmus/*.sock"), "isthmus:isthmus-admin 660")
        exposure = self.inside("systemd-analyze security --no-pager isthmus.service | tail -n 1")
        self.assertLessEqual(float(exposure.split(":")[1].split()[0]), 3.0, exposure)

    def test_b_traffic_flows_and_a_reload_disturbs_nothing(self):
        pairs = self.traffic(*west_and_north())
        before = self.gateway.pid
        self.inside("systemctl reload isthmus.service")
        wait_until(lambda: "reloading the hubs" in self.debian.journal(), what="the reload is in the log")
        self.assert_complete(pairs)
        self.assertEqual(self.gateway.pid, before)

    def test_c_an_upgrade_loses_nothing_and_keeps_the_configuration(self):
        pairs = self.traffic(*west_and_north())
        before = self.gateway.pid
        configuration = self.inside("cat /etc/isthmus/gateway.yaml")
        self.inside("dpkg -i --force-confold /root/isthmus.deb")
        self.gateway.wait_serving("upgraded", before)
        self.assert_complete(pairs)
        self.assertEqual(self.inside("cat /etc/isthmus/gateway.yaml"), configuration)
        self.assertEqual(self.gateway.status()["connections"]["start"], "adopted")
        self.assertNotIn("before", self.inside("dpkg-query -W -f '${Version}' isthmus"))
        self.assertEqual(self.inside("systemctl show -P WatchdogUSec isthmus.service"), "30s")

    def test_ca_an_upgrade_ends_no_gateway_whose_configuration_is_refused(self):
        before = self.gateway.pid
        configuration = self.inside("cat /etc/isthmus/gateway.yaml") + "\n"
        self.debian.write("/etc/isthmus/gateway.yaml", configuration + "nonsense: 1\n")
        said = self.debian.run("dpkg -i --force-confold /root/isthmus.deb 2>&1").stdout
        self.debian.write("/etc/isthmus/gateway.yaml", configuration)
        self.assertIn("isthmus.service is not restarted", said)
        self.assertEqual((self.inside("systemctl is-active isthmus.service"), self.gateway.pid), ("active", before))

    def test_d_after_a_crash_it_is_started_again(self):
        before = self.gateway.pid
        os.kill(self.process(), signal.SIGKILL)
        self.gateway.wait_serving("started again", before)
        self.assertEqual(self.gateway.status()["connections"]["start"], "adopted")
        self.fleet.wait_peers()
        self.assert_complete(self.traffic(*west_and_north()))

    def quicker_watchdog(self):
        self.debian.run("mkdir -p /run/systemd/system/isthmus.service.d && printf '[Service]\\nWatchdogSec=6\\n' "
                        "> /run/systemd/system/isthmus.service.d/watchdog.conf && systemctl daemon-reload")
        before = self.gateway.pid
        self.inside("systemctl restart isthmus.service")
        return self.gateway.wait_serving("with a quicker watchdog", before)

    def watchdog_restarts(self, before, resume=lambda: None):
        def gone():
            resume()
            try:
                return not self.process(before)
            except ProcessLookupError:
                return True
        self.gateway.wait_serving("restarted by the watchdog", before)
        self.assertIn("Watchdog timeout", self.debian.journal(100))
        wait_until(gone, 30, what="the end of the gateway that hung")
        self.fleet.wait_peers()

    def test_e_a_process_that_hangs_is_replaced(self):
        before = self.quicker_watchdog()
        os.kill(self.process(before), signal.SIGSTOP)
        self.watchdog_restarts(before)

    def test_f_one_of_which_a_worker_hangs_is_replaced(self):
        before = self.quicker_watchdog()
        process = self.process(before)
        worker = next(int(thread) for thread in os.listdir(f"/proc/{process}/task")
                      if self.name_of(process, thread).startswith("isthmus-w"))
        stopped = Stopped(worker)
        self.addCleanup(stopped.resume)
        wait_until(lambda: any("polling" in problem["what"] for problem in self.gateway.status()["problems"]),
                   what="the standing worker is a problem")
        wait_until(lambda: "Watchdog timeout" in self.debian.journal().split("stopped polling")[-1], 60,
                   what="the watchdog's end of it")
        stopped.resume()  # a thread that is traced does not end
        self.watchdog_restarts(before, stopped.resume)

    @staticmethod
    def name_of(process, thread):
        with open(f"/proc/{process}/task/{thread}/comm", encoding="utf-8") as file:
            return file.read()

    def test_g_remove_leaves_nothing_but_state_and_configuration(self):
        self.inside("touch /var/lib/isthmus/kept; systemctl enable isthmus@other.service")
        self.inside("apt-get remove -y isthmus")
        left = {"processes": self.debian.run("pgrep -x isthmus", check=False).stdout,
                "pins": self.inside("ls /sys/fs/bpf | grep -v debug || true"),
                "sockets": self.inside("ls -A /run/isthmus 2>/dev/null || true"),
                "tables": self.inside("ls -A /dev/shm"),
                "rules": self.inside("ip rule show | grep 21073 || true"),
                "routes": self.inside("ip route show proto 21; ip -6 route show proto 21"),
                "devices": self.inside("ip -o link show | grep -E 'isthmus0|xdp' || true"),
                "programs": self.inside("ls /usr/bin/isthmus /lib/systemd/system/isthmus* 2>/dev/null || true")}
        self.assertEqual({what: text for what, text in left.items() if text}, {}, self.debian.journal())
        self.assertTrue(os.path.exists(self.debian.seen("/var/lib/isthmus/kept")))
        self.assertTrue(os.path.exists(self.debian.seen(f"/var/lib/isthmus/{NAME}.known")))
        self.assertTrue(os.path.exists(self.debian.seen("/etc/isthmus/gateway.yaml")))

    def test_h_purge_leaves_nothing(self):
        folder = "/var/lib/isthmus"
        self.inside(f"umount {folder}/hub; mkdir {folder}/mount; mount -t tmpfs tmpfs {folder}/mount; "
                    f"touch {folder}/mount/theirs; apt-get purge -y isthmus")
        self.assertEqual(self.inside(f"find {folder} | sort").split(),
                         [folder, f"{folder}/mount", f"{folder}/mount/theirs"])
        self.inside(f"umount {folder}/mount; rmdir {folder}/mount {folder}")
        self.assertEqual(self.inside("find / -xdev -name '*isthmus*' -not -path '/root/*' -not -path '/proc/*' "
                                     "-not -path '/var/log/*'"), "")


if __name__ == "__main__":
    unittest.main()
