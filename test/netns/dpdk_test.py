"""A gateway whose device is DPDK's, as far as it goes without a second one: what keeps it from starting is said with
its remedy, and one that starts shows the device. Over DPDK's software drivers, without huge pages."""

import glob
import json
import os
import shutil
import unittest

from fleet_case import BUILD, PROGRAM, wait_until
from fleet.shell import run
from machine import Machine

NAME = f"dpdk-{os.getpid()}"
ADDRESS = "192.0.2.1"
MODULE = os.path.join(BUILD, "dataplane", "isthmus-dpdk.so")
EXIT_FAILED, EXIT_CONFIGURATION = 1, 2
CONFIG = """\
gateway: {{name: {name}, cluster: east, cluster_id: 1}}
engine: {{connections: 65536, frames: 8192, dpdk: {{memory_mb: 32, huge_pages: {pages}}}}}
devices:
  underlay: {{{underlay}}}
  local: {{{local}}}
hub: {{file: {{path: {hub}}}}}
metrics: {{enabled: false}}
admin: {{socket: {folder}/admin.sock, group: root}}
state: {{directory: {folder}, last_known_directory: {folder}/known}}
{more}"""


def free_huge_pages():
    total = 0
    for path in glob.glob("/sys/kernel/mm/hugepages/*/free_hugepages"):
        with open(path, encoding="ascii") as file:
            total += int(file.read())
    return total


@unittest.skipUnless(os.path.exists(MODULE), "the module for DPDK is not built")
class DpdkCase(unittest.TestCase):
    def setUp(self):
        if os.geteuid() != 0:
            self.skipTest("needs root")
        self.machine = Machine()
        self.addCleanup(self.machine.close)
        self.machine.add("eth0", f"{ADDRESS}/24")
        self.machine.write_hub(NAME, ADDRESS)
        self.memif = f"net_memif0,role=server,socket-abstract=no,socket={self.path('memif.sock')}"

    def path(self, name):
        return os.path.join(self.machine.folder, name)

    def configure(self, underlay, local=None, pages="none", more=""):
        """The devices' keys; without `local`, one device serves both sides."""
        with open(self.machine.config, "w", encoding="ascii") as file:
            file.write(CONFIG.format(name=NAME, underlay=underlay, local=underlay if local is None else local,
                                     pages=pages, hub=self.machine.hub, folder=self.machine.folder, more=more))

    def start(self, program=PROGRAM):
        daemon = self.machine.netns.start("gateway", [program, "run", "--config", self.machine.config],
                                          self.path("gateway.log"))
        self.addCleanup(daemon.stop, timeout=20)
        return daemon

    def status(self):
        done = run([PROGRAM, "status", "-o", "json", "--socket", self.path("admin.sock")], check=False)
        return json.loads(done.stdout) if done.returncode == 0 else {}

    def serve(self):
        daemon = self.start()
        wait_until(lambda: self.status().get("state") == "serving" or not daemon.alive, what="it serves")
        self.assertTrue(daemon.alive, daemon.log_tail())
        return daemon


class StartErrors(DpdkCase):
    def assert_refused(self, *words, program=PROGRAM, status=EXIT_FAILED):
        done = self.machine.netns.run([program, "run", "--config", self.machine.config], check=False)
        said = done.stderr.splitlines()[-1] if done.stderr else ""
        self.assertEqual(done.returncode, status, done.stderr)
        for word in words:
            self.assertIn(word, said)

    def test_an_address_at_which_there_is_nothing(self):
        self.configure('dpdk: "0000:ff:1f.7"')
        self.assert_refused("devices.underlay.dpdk: there is no PCI device 0000:ff:1f.7", "NICs")

    def test_a_nic_that_the_kernel_has(self):
        for device in sorted(glob.glob("/sys/bus/pci/devices/*")):
            with open(os.path.join(device, "class"), encoding="ascii") as file:
                if not file.read().startswith("0x02") or not os.path.exists(os.path.join(device, "driver")):
                    continue
            driver = os.path.basename(os.readlink(os.path.join(device, "driver")))
            if driver in ("vfio-pci", "igb_uio", "uio_pci_generic", "mlx5_core", "mlx4_core", "mana"):
                continue
            address = os.path.basename(device)
            self.configure(f'dpdk: "{address}"')
            self.assert_refused(f"the NIC {address} is the kernel's", f"driver {driver}",
                                f"driverctl set-override {address} vfio-pci")
            return
        self.skipTest("there is no NIC on the PCI bus that the kernel has")

    def test_an_interface_that_is_not_there(self):
        self.configure("dpdk: nowhere")
        self.assert_refused("devices.underlay.dpdk: there is no interface nowhere", "net_memif0")

    def test_an_interface_without_hardware(self):
        self.configure("dpdk: lo")
        self.assert_refused("the interface lo is no NIC", "net_af_packet0,iface=lo")

    def test_a_driver_that_dpdk_does_not_have(self):
        self.configure("dpdk: net_nothing0")
        self.assert_refused("net_nothing0: DPDK has no driver that takes the device", "devargs")

    def test_an_mtu_that_the_driver_does_not_take(self):
        self.configure(f'dpdk: "{self.memif}", mtu: 1600', "interface: dpdk0")
        self.assert_refused("net_memif0", "an MTU of 1600, and its driver takes 1500 at most", "set its mtu to 1500")

    @unittest.skipIf(free_huge_pages(), "huge pages are free")
    def test_huge_pages_that_are_required_and_not_there(self):
        self.configure("dpdk: net_null0", pages="required")
        self.assert_refused("engine.dpdk.huge_pages: no huge pages are free, and the configuration requires them",
                            "sysctl vm.nr_hugepages")

    def test_a_device_that_another_process_has(self):
        self.configure(f'dpdk: "{self.memif}"')
        self.serve()
        with open(self.machine.config, encoding="ascii") as file:
            other = file.read().replace("/admin.sock", "/other.sock")
        with open(self.machine.config, "w", encoding="ascii") as file:
            file.write(other)
        self.assert_refused("DPDK's driver cannot take the device", "Address already in use",
                            "end the process that has it")

    def test_a_module_that_is_not_there_or_cannot_be_loaded(self):
        program = self.path("bin/isthmus")
        os.makedirs(self.path("bin"))
        shutil.copy(PROGRAM, program)
        self.configure("dpdk: net_null0")
        self.assert_refused("there is no module isthmus-dpdk.so", "install the package isthmus-dpdk", program=program)
        os.makedirs(self.path("lib/isthmus"))
        with open(self.path("lib/isthmus/isthmus-dpdk.so"), "w", encoding="ascii") as file:
            file.write("no library")
        self.assert_refused("cannot load the module for DPDK", "librte-eal23", program=program)

    def test_keys_that_only_af_xdp_has(self):
        self.configure("dpdk: net_null0, xdp: native, zero_copy: require", "interface: dpdk0")
        done = run([PROGRAM, "config", "check", self.machine.config], check=False)
        self.assertEqual(done.returncode, EXIT_CONFIGURATION)
        for key in ("xdp", "zero_copy"):
            self.assertIn(f"devices.underlay.{key} is set beside devices.underlay.dpdk", done.stderr)
        self.assert_refused("is set beside devices.underlay.dpdk", "leave it out", status=EXIT_CONFIGURATION)


class Doctor(DpdkCase):
    def doctor(self, program=PROGRAM):
        """{check: [(level, what was found, fix)]}."""
        done = self.machine.netns.run([program, "doctor", "-o", "json", "--config", self.machine.config], check=False)
        checks = {}
        for row in json.loads(done.stdout)["findings"]:
            checks.setdefault(row["check"], []).append((row["level"], row["found"], row["fix"]))
        return checks

    def assert_said(self, rows, level, found, fix=""):
        self.assertTrue(any(row[0] == level and found in row[1] and fix in row[2] for row in rows), rows)

    def test_where_nothing_is_wrong_nothing_fails(self):
        self.configure(f'dpdk: "{self.memif}"')
        for running in (False, True):
            if running:
                self.serve()
            checks = self.doctor()
            self.assertEqual([row for rows in checks.values() for row in rows if row[0] == "fails"], [])
            self.assert_said(checks["dpdk"], "ok", "the module is there")
            self.assert_said(checks["dpdk"], "ok", "net_memif0")
            self.assert_said(checks["huge-pages"], "ok", "software devices need none")
            self.assert_said(checks["interfaces"], "ok", "dpdk0 is made by the gateway")
            self.assert_said(checks["underlay-address"], "note", f"{ADDRESS} of the Gateway object is on eth0", "dpdk0")

    def test_what_is_missing_is_said_with_its_command(self):
        self.configure("dpdk: net_nothing0", 'dpdk: "0000:ff:1f.7"', pages="required")
        program = self.path("bin/isthmus")
        os.makedirs(self.path("bin"))
        shutil.copy(PROGRAM, program)
        checks = self.doctor(program)
        self.assert_said(checks["dpdk"], "fails", "there is no module", "isthmus-dpdk")
        self.assert_said(checks["dpdk"], "fails", "DPDK's driver net_nothing", "librte-net-nothing23")
        self.assert_said(checks["dpdk"], "fails", "there is no PCI device 0000:ff:1f.7")
        if not free_huge_pages():
            self.assert_said(checks["huge-pages"], "fails", "0 MiB of huge pages are free, for 32 MiB",
                             "sysctl -w vm.nr_hugepages=")


class Started(DpdkCase):
    def device_rows(self):
        return {row["name"]: row for row in self.status()["devices"]}

    def test_one_device_for_both_sides_is_shown_with_its_counters(self):
        self.configure("dpdk: net_null0")
        daemon = self.serve()
        wait_until(lambda: self.device_rows()["dpdk0"]["rx_packets"] > 0, what="the null device's packets are counted")
        row = self.device_rows()["dpdk0"]
        self.assertEqual((row["side"], row["mode"], row["up"]), ("both", "dpdk net_null net_null0, 1 queue", True))
        shown = run([PROGRAM, "status", "--socket", self.path("admin.sock")]).stdout
        self.assertIn("dpdk net_null net_null0", shown)
        daemon.stop(timeout=20)
        self.assertEqual(daemon.popen.returncode, 0, daemon.log_tail())
        self.assertIn("DPDK lets go of its devices", daemon.log_tail())

    def interfaces(self):
        return {row["ifname"] for row in json.loads(self.machine.netns.run(["ip", "-j", "link"]).stdout)}

    def test_its_interface_stays_behind_it_until_it_is_cleaned_up(self):
        self.configure(f'dpdk: "{self.memif}"')
        daemon = self.serve()
        command = [PROGRAM, "cleanup", "--config", self.machine.config]
        self.assertIn("running", self.machine.netns.run(command, check=False).stderr)
        self.machine.netns.ip("addr add 198.51.100.1/24 dev dpdk0")
        daemon.stop(timeout=20)
        self.assertIn("198.51.100.1", self.machine.netns.run(["ip", "addr", "show", "dpdk0"]).stdout)
        self.machine.netns.run(command)
        self.assertNotIn("dpdk0", self.interfaces())
        self.machine.netns.ip("link add dpdk0 type veth peer name dpdk0-peer")  # another's
        self.machine.netns.run(command)
        self.assertIn("dpdk0", self.interfaces())

    def test_it_stands_beside_a_veth_pair(self):
        self.configure(f'dpdk: "{self.memif}", interface: uplink, mtu: 1400', "interface: isthmus0, veth: true")
        self.serve()
        rows = self.device_rows()
        self.assertEqual({name: row["side"] for name, row in rows.items()},
                         {"uplink": "underlay", "isthmus0x": "local"})
        self.assertTrue(rows["uplink"]["mode"].startswith("dpdk net_memif net_memif0"), rows)
        self.assertFalse(rows["uplink"]["up"], "nobody is at the other end")
        link = json.loads(self.machine.netns.run(["ip", "-j", "link", "show", "isthmus0"]).stdout)[0]
        self.assertEqual(link["mtu"], 1400 - 50)

    def test_two_stand_beside_each_other(self):
        self.configure("dpdk: net_null0", f'dpdk: "{self.memif}"')
        self.serve()
        self.assertEqual({name: row["side"] for name, row in self.device_rows().items()},
                         {"dpdk0": "underlay", "dpdk1": "local"})

    def test_a_restart_is_none_without_an_end_of_the_one_that_runs(self):
        self.configure(f'dpdk: "{self.memif}"')
        first = self.serve()
        second = self.start()
        self.assertNotEqual(self.status()["pid"], second.popen.pid)
        wait_until(lambda: self.status().get("pid") == second.popen.pid or not second.alive,
                   what="the second one serves")
        self.assertTrue(second.alive, second.log_tail())
        self.assertTrue(first.alive, "it stays until it is ended, without its devices")
        with open(self.path("gateway.log"), encoding="utf-8") as file:
            self.assertIn("a DPDK device, net_memif0", file.read())


if __name__ == "__main__":
    unittest.main()
