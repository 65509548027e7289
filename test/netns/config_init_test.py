"""`isthmus config init` on machines of several kinds: the check passes what it writes, and a gateway runs with it."""

import json
import os
import re
import stat
import unittest

from fleet_case import PROGRAM, wait_until
from documents import block
from fleet.shell import run
from machine import Machine

NAME = f"init-{os.getpid()}"


class ConfigInit(unittest.TestCase):
    def setUp(self):
        if os.geteuid() != 0:
            self.skipTest("needs root")
        self.machine = Machine()
        self.addCleanup(self.machine.close)

    def run_init(self, *options, cluster=True, output=None, name=NAME):
        machine = self.machine
        return machine.netns.run([PROGRAM, "config", "init", "--output", output or machine.config, "--name", name,
                                  *(["--cluster", "east"] if cluster else []), "--hub", f"file={machine.hub}",
                                  *options], check=False)

    def init(self, *options, **more):
        done = self.run_init(*options, **more)
        self.assertEqual(done.returncode, 0, done.stderr)
        return self.text()

    def check(self):
        return self.machine.netns.run([PROGRAM, "config", "check", self.machine.config], check=False)

    def text(self):
        with open(self.machine.config, encoding="utf-8") as file:
            return file.read()

    def serve(self, address):
        """A gateway with that configuration serves, as it does with the table that is chosen for this machine."""
        machine = self.machine
        checked = self.check()
        self.assertEqual((checked.returncode, checked.stderr), (0, ""), self.text())
        machine.write_hub(NAME, address)
        log = os.path.join(machine.folder, "log")
        daemon = machine.netns.start(NAME, [PROGRAM, "run", "--config", machine.config], log)
        self.addCleanup(machine.netns.run, [PROGRAM, "cleanup", "--config", machine.config], check=False)
        self.addCleanup(daemon.stop)

        def served():
            with open(log, encoding="utf-8") as file:
                text = file.read()
            self.assertIsNone(daemon.popen.poll(), text)
            return "serving:" in text
        wait_until(served, timeout=60, what="the gateway serves")
        status = json.loads(run([PROGRAM, "status", "-o", "json", "--socket", NAME]).stdout)
        self.assertTrue(all(row["up"] for row in status["devices"]), status["devices"])
        daemon.stop(timeout=20)
        self.assertEqual(daemon.popen.returncode, 0)
        return status

    def test_one_interface(self):
        self.machine.add("eth0", "192.0.2.1/24")
        self.machine.netns.ip("route add default via 192.0.2.254")
        text = self.init()
        self.assertRegex(text, r"interface: eth0 +# it has the default route: 192\.0\.2\.1, MTU 1500\n")
        self.assertEqual(len(self.serve("192.0.2.1")["devices"]), 1)

    def test_two_interfaces_of_which_one_is_named_for_the_local_side(self):
        self.machine.add("eth0", "192.0.2.1/24")
        self.machine.add("eth1", "10.1.0.1/24")
        self.machine.netns.ip("route add default via 192.0.2.254")
        self.assertIn("also found: eth1, 10.1.0.1", self.init())
        self.init("--local-interface", "eth1", "--force")
        self.assertEqual(len(self.serve("192.0.2.1")["devices"]), 2)

    def test_a_local_interface_that_does_not_exist_is_a_veth_pair(self):
        self.machine.add("eth0", "192.0.2.1/24")
        self.machine.netns.ip("route add default via 192.0.2.254")
        self.init("--local-interface", "gate0", "--translation", "10.1.255.1")
        self.serve("192.0.2.1")
        self.assertIn("gate0x", self.machine.netns.run(["ip", "-br", "link"]).stdout)

    def test_ipv6_only(self):
        self.machine.add("eth0", "2001:db8::1/64")
        self.machine.netns.ip("route add default via 2001:db8::fe")
        self.assertIn("it has the default route of IPv6: 2001:db8::1", self.init())
        self.serve("2001:db8::1")

    def test_a_jumbo_mtu(self):
        self.machine.add("eth0", "192.0.2.1/24", mtu=9000)
        self.machine.netns.ip("route add default via 192.0.2.254")
        self.assertIn("an MTU of 3776", " ".join(self.init().replace("#", "").split()))
        self.serve("192.0.2.1")

    def test_many_queues(self):
        self.machine.add("eth0", "192.0.2.1/24", queues=64)
        self.machine.netns.ip("route add default via 192.0.2.254")
        text = self.init()
        workers = re.search(r"^  workers: (\d+)|^  cores: \[(.*)\]", text, re.MULTILINE)
        self.assertIsNotNone(workers, text)
        self.assertRegex(text, r"frames: \d+ +# \d+ receive queues for each worker")
        self.serve("192.0.2.1")

    def test_without_a_default_route_the_only_interface_with_an_address_is_taken(self):
        self.machine.add("eth0", "192.0.2.1/24")
        self.assertIn("it has no default route: 192.0.2.1", " ".join(self.init().split()))
        self.serve("192.0.2.1")

    def test_a_default_route_through_a_vpn_is_not_where_the_gateways_are(self):
        self.machine.add("eth0", "192.0.2.1/24")
        self.machine.netns.ip("tuntap add wg0 mode tun", "link set wg0 up", "addr add 10.9.0.2/24 dev wg0",
                              "route add default dev wg0")
        self.assertIn("interface: eth0", self.init())
        self.serve("192.0.2.1")
        refused = self.run_init("--interface", "wg0", "--force")
        self.assertEqual(refused.returncode, 2, refused)
        self.assertIn("has no Ethernet", refused.stderr)

    def test_of_two_without_a_default_route_a_person_chooses(self):
        self.machine.add("eth0", "192.0.2.1/24")
        self.machine.add("eth1", "10.1.0.1/24")
        done = self.run_init()
        self.assertEqual(done.returncode, 0)
        self.assertIn("devices.underlay.interface is to be given", done.stderr)
        checked = self.check()
        self.assertEqual(checked.returncode, 2)
        self.assertEqual(re.findall(r"(\S+) is missing", checked.stderr),
                         ["devices.underlay.interface", "devices.local.interface"])
        self.init("--interface", "eth1", "--force")
        self.serve("10.1.0.1")

    def test_the_check_names_just_what_only_a_person_knows(self):
        self.machine.add("eth0", "192.0.2.1/24")
        self.init(cluster=False)
        self.assertEqual(re.findall(r"(\S+) is missing", self.check().stderr), ["gateway.cluster"])

    def test_the_commands_of_the_document_work_as_they_stand(self):
        self.machine.add("eth0", "192.0.2.1/24")
        path = f"{os.path.dirname(PROGRAM)}:{os.environ['PATH']}"
        done = self.machine.netns.run(["env", f"PATH={path}", "sh", "-c", block("first-config")],
                                      cwd=self.machine.folder, check=False)
        self.assertIn("written to gateway.yaml", done.stderr)
        self.assertIn("gateway.yaml: good", done.stdout)
        self.assertRegex(done.stdout, r"\n\d+ fail, \d+ slow, \d+ to note, \d+ ok")

    def test_a_file_that_is_there_stays_unless_told_otherwise(self):
        self.machine.add("eth0", "192.0.2.1/24")
        with open(self.machine.config, "w", encoding="ascii") as file:
            file.write("mine\n")
        done = self.run_init()
        self.assertEqual((done.returncode, self.text()), (1, "mine\n"))
        self.assertIn("--force", done.stderr)
        self.assertIn("gateway:", self.init("--force"))
        self.assertEqual(stat.S_IMODE(os.stat(self.machine.config).st_mode), 0o644)
        self.assertEqual(os.listdir(self.machine.folder), ["gateway.yaml"])

    def test_to_stdout_it_writes_no_file(self):
        self.machine.add("eth0", "192.0.2.1/24")
        done = self.run_init(output="-")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn(f"\ngateway:\n  name: {NAME} ", done.stdout)
        self.assertEqual(os.listdir(self.machine.folder), [])

    def test_what_cannot_be_used_is_refused_and_nothing_is_written(self):
        self.machine.add("eth0", "192.0.2.1/24")
        for options, name, said in ((["--interface", "eth9"], NAME, "no such interface"), ([], "A_b", "gateway.name"),
                                    (["--hub", "ftp"], NAME, "not file"), (["--translation", "x"], NAME, "not an IP")):
            with self.subTest(said):
                done = self.run_init(*options, name=name)
                self.assertEqual(done.returncode, 2, done.stderr)
                self.assertIn(said, done.stderr)
                self.assertEqual(os.listdir(self.machine.folder), [])


if __name__ == "__main__":
    unittest.main()
