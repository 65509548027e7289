"""`isthmus doctor` on machines on which something is really wrong: each condition is made, and said with its fix."""

import json
import os
import sys
import unittest

from fleet_case import BUILD, PROGRAM, wait_until
from fleet.etcd import Authority
from fleet.kubernetes import OWN_KINDS, ApiServer
from fleet.shell import run
from machine import Machine

NAME = f"doctor-{os.getpid()}"
ADDRESS = "192.0.2.1"
EXIT_FINDINGS = 4
API_SERVER = os.path.join(BUILD, "test", "netns", "api-server")
CONFIG = """\
gateway: {{name: {name}, cluster: east, cluster_id: 1}}
engine: {{connections: 65536{engine}}}
devices:
  underlay: {{interface: {interface}{underlay}}}
  local: {{interface: {local}}}
translation: {{ipv4: 10.1.255.1}}
hub:
{hubs}
admin: {{socket: {folder}/admin.sock, group: root}}
state: {{directory: {state}, last_known_directory: {folder}/known}}
"""
FOREIGN = 'int pass(void *c) __attribute__((section("xdp"), used)); int pass(void *c) { return 2; }\n'
MUTE = """
add table ip mute
add chain ip mute seen { type filter hook input priority 0; }
add rule ip mute seen udp dport 53 drop
"""
SILENT = """
import socket, sys, time
s = socket.socket(); s.bind(("127.0.0.1", int(sys.argv[1]))); s.listen(8); print("listening", flush=True)
time.sleep(120)
"""


class DoctorCase(unittest.TestCase):
    """A machine with one interface, and a hub that has the gateway's own objects."""

    def setUp(self):
        if os.geteuid() != 0:
            self.skipTest("needs root")
        self.machine = Machine()
        self.addCleanup(self.machine.close)
        self.machine.add("eth0", f"{ADDRESS}/24")
        self.machine.write_hub(NAME, ADDRESS)

    def path(self, name):
        return os.path.join(self.machine.folder, name)

    def configure(self, interface="eth0", local=None, engine="", underlay="", state=None, hubs=()):
        """Writes the configuration; `hubs` beside the folder."""
        os.makedirs(self.path("state"), exist_ok=True)
        lines = [f"file: {{path: {self.machine.hub}}}", *hubs]
        with open(self.machine.config, "w", encoding="ascii") as file:
            file.write(CONFIG.format(name=NAME, interface=interface, local=local or interface, engine=engine,
                                     underlay=underlay, hubs="\n".join("  " + line for line in lines),
                                     folder=self.machine.folder, state=state or self.path("state")))

    def doctor(self, *before, config=True, enter=None):
        """{check: [findings]}. `before`: a command that starts it. `enter`: how it gets into the machine."""
        options = ["--config", self.machine.config] if config else []
        done = (enter or self.machine.netns.run)([*before, PROGRAM, "doctor", "-o", "json", *options], check=False)
        self.assertEqual(done.stderr, "")
        answer = json.loads(done.stdout)
        self.assertEqual(done.returncode, EXIT_FINDINGS if answer["fails"] else 0, done.stdout)
        checks = {}
        for finding in answer["findings"]:
            checks.setdefault(finding["check"], []).append(finding)
        return checks

    def assert_said(self, checks, check, level, found, fix=""):
        rows = checks.get(check, [])
        self.assertTrue(any(row["level"] == level and found in row["found"] and fix in row["fix"] for row in rows),
                        f"{check}: {level}, {found}, {fix}: {rows}")

    def fails(self, checks):
        return [finding for rows in checks.values() for finding in rows if finding["level"] == "fails"]

    def listen(self, port, namespace):
        daemon = namespace.start("listener", [sys.executable, "-c", SILENT, str(port)], self.path("listener.log"))
        self.addCleanup(daemon.stop)
        wait_until(lambda: "listening" in daemon.log_tail(), what="the port is taken")


class Doctor(DoctorCase):
    def test_where_nothing_is_wrong_nothing_fails(self):
        self.configure()
        checks = self.doctor()
        self.assertEqual(self.fails(checks), [])
        for check in ("configuration", "kernel", "capabilities", "interfaces", "xdp-program", "queues", "mtu",
                      "underlay-address", "translation", "tunnel-port", "hub", "connection-table", "gateway"):
            self.assertEqual({row["level"] for row in checks[check]} - {"ok", "note"}, set(), checks[check])
        table = self.machine.netns.run([PROGRAM, "doctor", "--config", self.machine.config]).stdout
        self.assertIn("\n0 fail, ", "\n" + table)

    def test_nothing_is_changed(self):
        self.configure()

        def state():
            shown = [self.machine.netns.run(words).stdout for words in (
                ["ip", "-d", "addr"], ["ip", "route", "show", "table", "all"], ["ethtool", "-k", "eth0"],
                ["sysctl", "-a", "--pattern", "rp_filter|forwarding"])]
            return shown, sorted(os.walk(self.machine.folder))
        before = state()
        self.doctor()
        self.assertEqual(state(), before)

    def test_errors_of_the_configuration_are_findings(self):
        self.configure(engine=", workres: 2, frames: 1000")
        checks = self.doctor()
        self.assert_said(checks, "configuration", "fails", f"{self.machine.config}:2", "workers")
        self.assertEqual(len([row for row in checks["configuration"] if row["level"] == "fails"]), 2)
        for text in ("", "\x00\xff", "[1]", "gateway: [", "a: &a [*a]"):
            with open(self.machine.config, "w", encoding="latin-1") as file:
                file.write(text)
            self.assertTrue(self.fails(self.doctor()), text)
        os.unlink(self.machine.config)
        self.assert_said(self.doctor(), "configuration", "fails", "No such file")

    def test_an_interface_that_does_not_exist(self):
        self.configure(interface="eth7")
        self.assert_said(self.doctor(), "interfaces", "fails", "no interface eth7", "devices.underlay.interface")

    def test_an_interface_that_is_down_or_has_no_carrier(self):
        self.configure()
        self.machine.outside.ip("link set eth0 down")
        wait_until(lambda: "NO-CARRIER" in self.machine.netns.run(["ip", "link", "show", "eth0"]).stdout,
                   what="the kernel has seen that the carrier is gone")
        self.assert_said(self.doctor(), "interfaces", "fails", "no carrier")
        self.machine.netns.ip("link set eth0 down")
        self.assert_said(self.doctor(), "interfaces", "fails", "eth0 is down", "ip link set eth0 up")

    def test_a_small_mtu(self):
        self.configure()
        self.machine.netns.ip("link set eth0 mtu 1320")
        self.assert_said(self.doctor(), "mtu", "fails", "1320 bytes", "ip link set eth0 mtu 1500")
        self.machine.netns.ip("link set eth0 mtu 9000")
        self.assert_said(self.doctor(), "mtu", "ok", "9000 bytes")
        self.machine.netns.ip("link set eth0 mtu 16000")
        self.assert_said(self.doctor(), "mtu", "slow", "16000 bytes", "11968")

    def test_a_strict_reverse_path_filter(self):
        self.configure()
        self.machine.netns.run(["sysctl", "-w", "net.ipv4.conf.eth0.rp_filter=1"])
        self.assert_said(self.doctor(), "reverse-path", "slow", "eth0 is strict", "net.ipv4.conf.eth0.rp_filter=2")

    def test_a_kernel_that_does_not_forward(self):
        self.configure(local="gate0, veth: true")
        self.machine.netns.run(["sysctl", "-w", "net.ipv4.ip_forward=0"])
        self.assert_said(self.doctor(), "forwarding", "fails", "net.ipv4.ip_forward is 0",
                         "sysctl -w net.ipv4.ip_forward=1")

    def test_a_foreign_xdp_program(self):
        self.configure()
        with open(self.path("foreign.c"), "w", encoding="ascii") as file:
            file.write(FOREIGN)
        run(["clang", "-O2", "-g", "-target", "bpf", "-c", self.path("foreign.c"), "-o", self.path("foreign.o")])
        self.machine.netns.run(["ip", "link", "set", "dev", "eth0", "xdp", "obj", self.path("foreign.o"), "sec", "xdp"])
        self.assert_said(self.doctor(), "xdp-program", "fails", "the XDP program pass", "ip link set dev eth0 xdp off")
        less = ["setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin"]
        self.assert_said(self.doctor(*less), "xdp-program", "note", "whose name this user may not see", "as root")

    def test_one_queue_and_two_workers(self):
        self.configure(engine=", workers: 2")
        self.assert_said(self.doctor(), "queues", "fails", "1 queue for 2 workers", "engine.workers: 1")

    def test_a_cpu_that_does_not_exist(self):
        self.configure(engine=", cores: [1000]")
        self.assert_said(self.doctor(), "cores", "fails", "1000", "engine.cores: CPUs of")

    def test_offloads_in_front_of_a_generic_program(self):
        self.configure(underlay=", xdp: generic")
        self.machine.netns.run(["ethtool", "-K", "eth0", "gro", "on"])
        checks = self.doctor()
        self.assert_said(checks, "offloads", "note", "rx-gro", "rx-gro off")
        self.assert_said(checks, "xdp-mode", "slow", "generic mode", "xdp: auto")

    def test_an_address_that_the_interface_does_not_have(self):
        self.machine.write_hub(NAME, "192.0.2.77")
        self.configure()
        self.assert_said(self.doctor(), "underlay-address", "fails", "no interface has 192.0.2.77",
                         f"eth0 has {ADDRESS}")
        self.machine.add("eth1", "192.0.2.77/24")
        self.assert_said(self.doctor(), "underlay-address", "fails", "is on eth1", "devices.underlay.interface: eth1")

    def test_a_gateway_whose_object_is_missing(self):
        self.machine.write_hub("another", ADDRESS)
        self.configure()
        self.assert_said(self.doctor(), "underlay-address", "fails", "no Gateway object", "underlayAddress")

    def test_a_router_that_is_silent(self):
        self.configure()
        self.machine.netns.ip("route add default via 192.0.2.254", "neigh add 192.0.2.254 dev eth0 nud failed")
        self.assert_said(self.doctor(), "neighbours", "slow", "192.0.2.254", "ip neigh show dev eth0")

    def test_another_tunnel_on_the_port(self):
        self.configure()
        self.machine.netns.ip("link add cilium_vxlan type vxlan external dstport 8472", "link set cilium_vxlan up")
        self.assert_said(self.doctor(), "tunnel-port", "note", "VXLAN device cilium_vxlan has UDP port 8472")
        self.configure(local="eth0, delivery: tunnel")
        self.assert_said(self.doctor(), "tunnel-port", "fails", "cilium_vxlan", "delivery: route")

    def test_the_port_of_the_metrics_is_taken(self):
        self.configure()
        self.listen(9979, self.machine.netns)
        self.assert_said(self.doctor(), "metrics-port", "slow", "9979", "metrics.port")

    def test_too_little_room_for_the_connection_table(self):
        os.makedirs(self.path("small"))
        run(["mount", "-t", "tmpfs", "-o", "size=16M", "tmpfs", self.path("small")])
        self.addCleanup(run, ["umount", self.path("small")])
        self.configure(state=self.path("small"))
        self.assert_said(self.doctor(), "connection-table", "fails", "has 16 MiB", "engine.connections: 16384")

    def test_memory_that_may_not_be_locked(self):
        self.configure()
        drop = ["prlimit", "--memlock=1048576:1048576", "setpriv", "--bounding-set", "-ipc_lock",
                "--inh-caps", "-ipc_lock"]
        self.assert_said(self.doctor(*drop), "memlock", "fails", "1 MiB", "LimitMEMLOCK=infinity")

    def test_a_process_without_its_capabilities(self):
        self.configure()
        drop = ["setpriv", "--bounding-set", "-bpf,-sys_admin", "--inh-caps", "-bpf,-sys_admin"]
        self.assert_said(self.doctor(*drop), "capabilities", "fails", "CAP_BPF", "CapabilityBoundingSet")

    def test_an_ordinary_user_is_told_what_could_not_be_seen(self):
        self.configure()
        for folder, names, files in os.walk(self.machine.folder):
            for name in (folder, *(os.path.join(folder, one) for one in names + files)):
                os.chmod(name, 0o755)
        checks = self.doctor("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
        self.assertEqual(self.fails(checks), [])
        self.assert_said(checks, "capabilities", "note", "ordinary user", "root")
        self.assert_said(checks, "interfaces", "ok", "eth0")
        self.assert_said(checks, "connection-table", "note", "may not write")

    def test_without_a_configuration_the_machine_is_examined(self):
        checks = self.doctor(config=False)
        if os.path.exists("/etc/isthmus/gateway.yaml"):
            self.skipTest("this machine has a configuration")
        self.assert_said(checks, "configuration", "note", "no configuration", "config init")
        self.assertNotIn("interfaces", checks)

    def test_a_gateway_that_runs_is_asked(self):
        self.configure()
        log = self.path("gateway.log")
        daemon = self.machine.netns.start(NAME, [PROGRAM, "run", "--config", self.machine.config], log)
        self.addCleanup(self.machine.netns.run, [PROGRAM, "cleanup", "--config", self.machine.config], check=False)
        self.addCleanup(daemon.stop, 20)
        wait_until(lambda: "serving:" in daemon.log_tail(50), timeout=60, what="it serves")
        checks = self.doctor()
        self.assertEqual(self.fails(checks), [])
        self.assertIn("runs, state ", checks["gateway"][0]["found"])
        self.assert_said(checks, "xdp-program", "ok", "isthmus_steer")
        self.assert_said(checks, "metrics-port", "ok", "running gateway")

    def write_kubeconfig(self, server):
        with open(self.path("kubeconfig"), "w", encoding="ascii") as file:
            json.dump({"current-context": "a", "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
                       "clusters": [{"name": "a", "cluster": {"server": server}}],
                       "users": [{"name": "a", "user": {"token": "t"}}]}, file)

    def test_names_of_hubs_that_nobody_resolves(self):
        """The server of names is on this network, and silent."""
        self.machine.outside.ip("addr add 192.0.2.53/24 dev eth0")
        self.machine.outside.run(["nft", MUTE])
        self.machine.netns.resolver("192.0.2.53")
        os.makedirs(self.path("mesh"))
        with open(self.path("mesh/west"), "w", encoding="ascii") as file:
            file.write("endpoints: [http://etcd.example:2379]\n")
        self.write_kubeconfig("https://server.example:6443")
        self.configure(hubs=[f"etcd: {{clusters: {self.path('mesh')}}}",
                             f"kubernetes: {{cluster: {self.path('kubeconfig')}}}"])
        checks = self.doctor(enter=self.machine.netns.exec)
        self.assert_said(checks, "hub", "fails", "etcd of west at http://etcd.example:2379")
        self.assert_said(checks, "hub", "fails", "API server at https://server.example:6443")

    def test_hubs_that_do_not_answer_are_asked_at_once_and_not_for_long(self):
        """Ten etcds on a port that accepts and is silent, an API server there, and a folder that is not there."""
        self.listen(2379, self.machine.netns)
        os.makedirs(self.path("mesh"))
        for number in range(10):
            with open(self.path(f"mesh/c{number}"), "w", encoding="ascii") as file:
                file.write("endpoints: [http://127.0.0.1:2379]\n")
        self.write_kubeconfig("https://127.0.0.1:2379")
        self.configure(hubs=[f"etcd: {{clusters: {self.path('mesh')}}}",
                             f"kubernetes: {{cluster: {self.path('kubeconfig')}}}"])
        os.rename(self.machine.hub, self.path("away"))
        checks = self.doctor()
        self.assertEqual(len([row for row in checks["hub"] if row["level"] == "fails"]), 12, checks["hub"])
        # Each has used up its own time; one after the other, most would not have had a turn.
        self.assertEqual([row for row in checks["hub"] if "has not answered" in row["found"]], [])
        self.assert_said(checks, "hub", "fails", "etcd of c3 at http://127.0.0.1:2379")
        self.assert_said(checks, "hub", "fails", "API server at https://127.0.0.1:2379")
        self.assert_said(checks, "hub", "fails", "folder at", "hub.file.path")


class DoctorAndEtcd(DoctorCase):
    """A real etcd that wants certificates of clients."""

    def start_etcd(self):
        authority = Authority(self.path("pki"))
        authority.sign("server", ("127.0.0.1",))
        url = "https://127.0.0.1:2379"
        daemon = self.machine.netns.start("etcd", [
            "etcd", "--data-dir", self.path("etcd"), "--log-level", "error", "--listen-client-urls", url,
            "--advertise-client-urls", url, "--listen-peer-urls", "http://127.0.0.1:2380", "--client-cert-auth",
            "--trusted-ca-file", authority.path("ca.crt"), "--cert-file", authority.path("server.crt"),
            "--key-file", authority.path("server.key")], self.path("etcd.log"))
        self.addCleanup(daemon.stop)
        os.makedirs(self.path("mesh"))
        return authority, url

    def ask(self, authority, url, name):
        with open(self.path("mesh/west"), "w", encoding="ascii") as file:
            file.write(authority.client_config(url, name))
        self.configure(hubs=[f"etcd: {{clusters: {self.path('mesh')}}}"])
        return self.doctor()

    def test_certificates_of_a_real_etcd(self):
        authority, url = self.start_etcd()
        authority.sign("reader")
        wait_until(lambda: "ok" in {row["level"] for row in self.ask(authority, url, "reader")["hub"]
                                    if "etcd" in row["found"]}, timeout=60, what="etcd answers")
        checks = self.ask(authority, url, "reader")
        self.assert_said(checks, "hub", "ok", "no configuration of west")
        self.assert_said(checks, "certificates", "slow", "reader.crt expires in", "renew")

        authority.sign("late", days=-1)
        checks = self.ask(authority, url, "late")
        self.assert_said(checks, "certificates", "fails", "late.crt has expired", "renew")
        self.assert_said(checks, "hub", "fails", f"etcd of west at {url}")

        os.replace(authority.path("late.key"), authority.path("reader.key"))
        self.assert_said(self.ask(authority, url, "reader"), "certificates", "fails", "not of the key", "one issue")

        os.unlink(authority.path("reader.key"))
        self.assert_said(self.ask(authority, url, "reader"), "hub", "fails", "reader.key")
        with open(self.path("mesh/west"), "w", encoding="ascii") as file:
            file.write("endpoints: nonsense\n")
        self.assert_said(self.doctor(), "hub", "fails", "endpoints is not a list")


class DoctorAndApiServer(DoctorCase):
    def ask(self, server):
        self.configure(hubs=[f"kubernetes: {{cluster: {server.kubeconfig}}}"])
        return self.doctor()

    def test_an_api_server_that_answers_forbids_is_another_or_is_gone(self):
        os.makedirs(self.path("log"))
        server = ApiServer("east", API_SERVER, self.machine.netns, "127.0.0.1", OWN_KINDS, self.path("servers"))
        server.start()
        self.addCleanup(server.stop)
        checks = self.ask(server)
        self.assert_said(checks, "hub", "ok", "API server at https://127.0.0.1:6443: answers")
        self.assertTrue(any("authority " in row["found"] for row in checks["certificates"]), checks["certificates"])
        server.forbid("v1", "Pod")
        wait_until(lambda: any("403" in row["found"] for row in self.ask(server)["hub"]), what="pods are forbidden")
        self.assert_said(self.ask(server), "hub", "fails", "403: the user of", "list and watch")
        with open(os.path.join(server.folder, "ca.crt"), encoding="ascii") as file:
            old = file.read()
        server.kill()
        self.assert_said(self.ask(server), "hub", "fails", "API server at https://127.0.0.1:6443", "curl")
        server.start()
        with open(os.path.join(server.folder, "ca.crt"), "w", encoding="ascii") as file:
            file.write(old)
        self.assert_said(self.ask(server), "hub", "fails", "certificate")
        with open(server.kubeconfig, "w", encoding="ascii") as file:
            file.write("{")
        self.assert_said(self.ask(server), "hub", "fails", "API server at")


if __name__ == "__main__":
    unittest.main()
