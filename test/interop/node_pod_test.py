"""The image and the chart together: gateways as pods of their nodes, made of the rendered manifest with its user, its
capabilities, its mounts and its read-only root, under a container runtime with its default seccomp profile."""

import json
import os
import shutil
import subprocess
import sys
import time
import unittest

import yaml

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "netns"))

from fleet_case import PREFIX, PROGRAM, ROOT, FleetCase, plan, pod, url, wait_until  # noqa: E402
from fleet.fleet import Fleet  # noqa: E402
from fleet.gateway import GatewayProcess  # noqa: E402
from fleet.numbered import AFTER, SETTLED, Numbered, west_and_north  # noqa: E402
from fleet.traffic import curl, ping  # noqa: E402
from node_pod import Node, NodePod, unpack_image  # noqa: E402
from release import Release  # noqa: E402

PODS = ("west-1", "north-1")  # the others are processes
MIB = 1 << 20


class PodGateway(GatewayProcess):
    """A gateway that runs as a pod of its node."""

    def __init__(self, release, *arguments):
        super().__init__(*arguments)
        gateway, netns, _, folder, hub, _ = arguments
        self.release = release
        self.node = Node(gateway.name, netns, os.path.join(folder, f"node-{gateway.name}"))
        self.socket = os.path.join(self.node.path("/run/isthmus"), f"{gateway.name}.sock")
        with open(self.config, encoding="utf-8") as file:
            config = yaml.safe_load(file)
        for key in ("admin", "state", "dns"):  # where the chart has them
            del config[key]
        del config["gateway"]["name"]
        config["devices"]["local"].setdefault("veth", False)
        own = {"translation": config.pop("translation")}
        config["hub"] = {"kubernetes": None, **config["hub"]}
        where = hub.folder_of(gateway.cluster)
        self.values = {
            "config": {**config, "gateways": {gateway.name: own}},
            "extraVolumes": [{"name": "hub", "hostPath": {"path": where, "type": "Directory"}}],
            "extraVolumeMounts": [{"name": "hub", "mountPath": where, "readOnly": True}]}
        self.pod = None

    def start(self, wait=True):
        objects = self.release.render(self.values)
        daemon_set = next(one for one in objects if one["kind"] == "DaemonSet")
        self.pod = NodePod(self.node, daemon_set, objects, self.release.image, self.release.defaults)
        self.pod.start()
        self.daemon = self.pod.daemon
        if wait:
            self.wait_ready()

    def stop(self):
        self.pod.end()
        return self.daemon.popen.returncode

    def close(self):
        self.node.close()


class PodFleet(Fleet):
    release = None

    def start_gateways(self, names=None):
        super().start_gateways([gateway.name for gateway in plan.gateways() if gateway.name not in PODS])
        for gateway in plan.gateways():
            if gateway.name in PODS:
                self.gateways[gateway.name] = PodGateway(
                    self.release, gateway, self.node(gateway.cluster, gateway.node), self.program, self.folder,
                    self.hub, self.settings)
                self.gateways[gateway.name].start()

    def close(self):
        failed = []
        for gateway in [self.gateways[name] for name in PODS if name in self.gateways]:
            if gateway.alive and gateway.stop() != 0:
                failed.append(f"{gateway.name}: exit {gateway.daemon.popen.returncode}\n{gateway.daemon.log_tail(40)}")
            gateway.close()
        return failed + super().close()


class PodCase(Numbered, FleetCase):
    @classmethod
    def make_fleet(cls):
        PodFleet.release = cls.release = Release.of(cls)
        return PodFleet(PROGRAM, PREFIX, cls.settings, cls.hub)

    @property
    def west(self):
        return self.fleet.gateways["west-1"]


class Image(PodCase):
    def test_it_is_small_and_has_no_shell(self):
        size = sum(os.lstat(os.path.join(base, name)).st_size
                   for base, _, files in os.walk(self.release.image) for name in files)
        self.assertLessEqual(size, 120 * MIB)
        self.assertEqual(os.listdir(os.path.join(self.release.image, "usr", "bin")), ["isthmus"])

    def test_it_runs_as_a_user_of_its_own_and_says_what_it_is(self):
        self.assertEqual(self.release.defaults["User"], "65532:65532")
        labels = self.release.defaults["Labels"]
        version = subprocess.run([PROGRAM, "version"], capture_output=True, text=True, check=True).stdout.split()[1]
        self.assertEqual(labels["org.opencontainers.image.version"], version)
        for name in ("title", "description", "revision", "licenses"):
            self.assertTrue(labels[f"org.opencontainers.image.{name}"], name)

    def test_every_file_belongs_to_a_package_of_its_bill(self):
        with open(self.release.bill, encoding="utf-8") as file:
            bill = json.load(file)
        with open(os.path.join(self.release.image, "usr/share/sbom/isthmus.spdx.json"), encoding="utf-8") as file:
            self.assertEqual(json.load(file), bill)
        listed = {package["name"] for package in bill["packages"]}
        loaded = subprocess.run(["chroot", self.release.image, "/lib64/ld-linux-x86-64.so.2", "--list",
                                 "/usr/bin/isthmus"], capture_output=True, text=True, check=True).stdout
        files = [line.split("=> ")[1].split()[0] for line in loaded.splitlines() if "=> /" in line]
        self.assertGreater(len(files), 20)
        for path in files:
            name = os.path.basename(path)
            owners = subprocess.run(["dpkg-query", "--search", f"*/{name}"], capture_output=True, text=True,
                                    check=False).stdout
            owned = {line.split(":")[0] for line in owners.splitlines()}
            self.assertTrue(owned & listed, f"{path}: {owned}")

    def test_two_images_are_equal(self):
        again = os.path.join(self.release.folder, "again")
        made = subprocess.run([os.path.join(ROOT, "packaging", "image", "build"), "--program", PROGRAM, again],
                              capture_output=True, text=True, check=True)
        self.assertEqual(made.stdout.split()[2], self.release.digest)
        with open(made.stdout.split()[0], "rb") as one, open(self.release.archive, "rb") as other:
            self.assertTrue(one.read() == other.read(), "the archives differ")


    def test_of_a_package_it_takes_the_program_and_what_it_depends_on(self):
        folder = os.path.join(self.release.folder, "package")
        for name, text in (("usr/share/man/man8/isthmus.8", "x"), ("usr/share/doc/isthmus/copyright", "x"), (
                "DEBIAN/control", "Package: isthmus\nVersion: 0.1.0\nArchitecture: amd64\nMaintainer: x <x@x>\n"
                f"Description: x\nDepends: iproute2, {self.run_depends()}\n")):
            os.makedirs(os.path.dirname(os.path.join(folder, name)), exist_ok=True)
            with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                file.write(text)
        os.makedirs(os.path.join(folder, "usr/bin"))
        shutil.copy(PROGRAM, os.path.join(folder, "usr/bin/isthmus"))
        archive = os.path.join(self.release.folder, "isthmus.deb")
        subprocess.run(["dpkg-deb", "--build", folder, archive], check=True, capture_output=True)
        made = subprocess.run([os.path.join(ROOT, "packaging", "image", "build"), "--deb", archive, folder],
                              capture_output=True, text=True, check=True).stdout.split()
        root = os.path.join(self.release.folder, "root-of-package")
        unpack_image(made[0], root)
        self.assertEqual(self.files(root) - self.files(self.release.image),
                         {"usr/share/doc/isthmus/copyright", "var/lib/dpkg/status.d/isthmus"})
        self.assertEqual(self.files(self.release.image) - self.files(root), set())

    @staticmethod
    def run_depends():
        """The packages that packages.txt names, one of them by what it provides, as dpkg-shlibdeps has it."""
        with open(os.path.join(ROOT, "packaging", "packages.txt"), encoding="utf-8") as file:
            names = file.read().split("[run]\n")[1].split("\n[")[0].split()
        return ", ".join("libspdlog1.10-fmt9 (>= 1.10)" if name == "libspdlog1.10" else name for name in names)

    @staticmethod
    def files(root):
        return {os.path.relpath(os.path.join(base, name), root) for base, _, names in os.walk(root) for name in names}


class Pods(PodCase):
    settings = {"health": "{interval: 200ms}", "kernel_flow_hold": "1m"}

    def test_it_has_exactly_the_manifests_capabilities_and_no_problem(self):
        status = self.west.pod.exec("/usr/bin/isthmus", "status").stdout
        self.assertIn("problems: none", status)
        self.assertIn("gateway      west-1 of cluster west", status)
        pids = [pid for pid in os.listdir("/proc") if pid.isdigit() and self.runs_here(pid)]
        self.assertEqual(len(pids), 1)
        for pid in pids:
            with open(f"/proc/{pid}/status", encoding="ascii") as file:
                fields = dict(line.split(":\t", 1) for line in file.read().splitlines() if ":\t" in line)
            bits = sum(1 << number for number in (12, 13, 14, 38, 39))  # NET_ADMIN NET_RAW IPC_LOCK PERFMON BPF
            for kind in ("CapEff", "CapPrm", "CapBnd"):
                self.assertEqual(int(fields[kind], 16), bits, kind)
            self.assertEqual((fields["NoNewPrivs"], fields["Seccomp"]), ("1", "2"))

    def runs_here(self, pid):
        """Whether that process is west-1's."""
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                return b"ISTHMUS_NAME=west-1\0" in file.read() and \
                    os.path.basename(os.readlink(f"/proc/{pid}/exe")) == "isthmus"
        except OSError:
            return False

    def test_what_it_writes_is_on_the_node(self):
        self.assertTrue(os.path.exists(os.path.join(self.west.node.path("/dev/shm/isthmus"), "west-1.flows")))
        self.assertIn("west-1.known", os.listdir(self.west.node.path("/var/lib/isthmus")))
        self.assertIn("isthmus", os.listdir(self.west.node.path("/sys/fs/bpf")))

    def test_pods_of_two_clusters_talk_through_two_such_nodes(self):
        for source, target in (("west", "north"), ("north", "west"), ("east", "west")):
            client, server = self.fleet.pod(source, "client"), pod(f"{target}-web-0")
            for address in (server.ipv4, server.ipv6):
                self.assertIn(server.full_name, curl(client, url(address, plan.cluster(target).http_port))[1],
                              (source, address))
                self.assertTrue(ping(client, address), (source, address))

    def test_settled_flows_lose_nothing_while_a_pod_is_replaced(self):
        """As a DaemonSet without surge does it: the old pod ends, then the new one starts."""
        pairs = self.begin(*west_and_north(), kinds=SETTLED)
        for name in PODS:
            gateway = self.fleet.gateways[name]
            wait_until(lambda: gateway.status()["handed_down"]["now"] >= len(SETTLED) * len(pairs), 30,
                       what=f"{name} hands them down")
        took = self.replace()
        self.assertLess(took, self.west.pod.pod["terminationGracePeriodSeconds"], "SIGKILL")
        time.sleep(AFTER)
        self.assert_complete(pairs)
        self.assertEqual(self.west.status()["connections"]["start"], "adopted")

    def replace(self):
        old, before = self.west.pod, self.west.daemon
        took = old.end()
        self.assertEqual(before.popen.returncode, 0, before.log_tail())
        self.assertTrue(old.hook is None or old.hook.returncode == 0, old.hook)
        self.west.start()
        self.fleet.wait_peers()
        return took

    def test_a_pod_beside_the_old_one_takes_over_and_nothing_is_lost(self):
        """As with maxSurge: 1: the new pod starts first."""
        pairs = self.traffic(west_and_north()[0])
        old = self.west.pod
        old.container.pop("lifecycle", None)  # with a surge the chart has no hook, which would drain the new one
        self.west.start(wait=False)
        try:
            wait_until(lambda: "handed over" in old.daemon.log_tail(100), 30, what="the old pod hands over")
        except TimeoutError as error:
            raise AssertionError(f"{error}\n{self.west.daemon.log_tail(30)}") from error
        old.end()
        self.assertEqual(old.daemon.popen.returncode, 0)
        self.west.wait_ready()
        time.sleep(AFTER)
        self.assert_complete(pairs)


class Removed(PodCase):
    def test_cleanup_leaves_nothing_on_the_node(self):
        values = self.west.values
        self.assertEqual(self.west.stop(), 0)
        links = self.west.netns.run(["ip", "-brief", "link"]).stdout
        self.assertIn("isthmus0", links)
        self.west.values = {**values, "cleanup": True}
        self.west.start(wait=False)
        self.assertEqual(self.west.daemon.popen.wait(30), 0, self.west.daemon.log_tail())
        links = self.west.netns.run(["ip", "-brief", "link"]).stdout
        self.assertNotIn("isthmus0", links)
        self.assertNotIn("xdp", self.west.netns.run(["ip", "link", "show", "eth0"]).stdout)
        for path in ("/dev/shm/isthmus", "/var/lib/isthmus", "/sys/fs/bpf/isthmus"):
            self.assertEqual(os.listdir(self.west.node.path("/sys/fs/bpf") + "/isthmus"
                                        if path.startswith("/sys") else self.west.node.path(path)), [], path)


class FewerCapabilities(PodCase):
    """Each capability is needed: without it, something is missing and said."""

    def test_each_that_is_left_out_is_missed(self):
        values = self.west.values
        self.addCleanup(setattr, self.west, "values", values)
        every = self.west.pod.container["securityContext"]["capabilities"]["add"]
        for name in every:
            with self.subTest(name):
                self.west.pod.end()
                self.west.values = values | {
                    "securityContext": {"capabilities": [one for one in every if one != name]}}
                self.west.start(wait=False)
                missed = wait_until(self.missed, 30, what=f"something is missed without {name}")
                self.assertTrue(missed)
        self.west.pod.end()
        self.west.values = values
        self.west.start()
        self.assertEqual(self.west.status()["problems"], [])

    def missed(self):
        """Why it does not serve as it does with all of them."""
        if not self.west.alive:
            return self.west.daemon.log_tail(5)
        status = self.west.query("status", check=False)
        if status is None or status["state"] == "making its first tables":
            return None
        return [problem["what"] for problem in status["problems"]]


if __name__ == "__main__":
    unittest.main()
