"""Gateways that restart while hubs are away serve what they last knew: hub away x policy x how the gateway stopped."""

import os
import shutil
import time
import unittest

from fleet_case import FleetCase, plan, pod, url, wait_until
from fleet.kubernetes import FLEET
from fleet.policies import cilium_policy, peers, policy_file
from fleet.shell import run
from fleet.traffic import curl_many, ping, pinged_through_all
from kubernetes_test import KubernetesFleet

# For hubs, at the start: longer than a test. Who serves sooner has waited for none.
WAIT = "10m"
# Seconds in which a gateway has asked again, however often a server has been away: attempts are up to a minute apart.
RETRIES = 150


class Restarting:
    """Mix-in for a FleetCase."""

    def kill(self, gateway):
        gateway.kill()

    def stop(self, gateway):
        self.assertEqual(gateway.stop(), 0)

    def serve(self, gateway):
        """Starts it and waits until it serves, whatever its hubs say."""
        gateway.start(wait=False)
        wait_until(lambda: (gateway.query("status", check=False) or {}).get("state") == "serving", timeout=30,
                   what=f"{gateway.name} serves")

    def restored(self, gateway):
        """Objects that it has from before its restart, by hub and cluster."""
        return {(row["hub"], row["cluster"]): row["objects"] for row in gateway.status()["hub"]["restored"]}

    def kept(self, gateway):
        """Waits until it has written what it knows."""
        time.sleep(2.5)  # it writes once a second
        self.assertTrue(os.listdir(os.path.join(gateway.known, f"{gateway.name}.known")))


class WithoutEtcds(Restarting, FleetCase):
    hub = "etcd"
    settings = {"hub_wait": WAIT}

    @classmethod
    def prepare(cls):
        cls.vips = cls.make_global()
        cls.east = cls.fleet.gateways["east-1"]
        cls.etcds = [cls.fleet.hub.etcds["west"], cls.fleet.hub.etcds["north"]]

    def restart_without_hubs(self, end):
        self.kept(self.east)
        for etcd in self.etcds:
            etcd.kill()
        end(self.east)
        self.serve(self.east)
        rows = self.restored(self.east)
        self.assertGreater(rows[("etcd", "west")], 5, rows)
        self.assertIn("not confirmed", run([self.east.program, "status", "--hub", "--socket", self.east.socket]).stdout)
        self.fleet.wait_peers()
        for cluster in ("west", "north"):
            self.assertIsNotNone(ping(self.fleet.pod("east", "client"), pod(f"{cluster}-web-0").ipv4, count=1))
        seen = curl_many(self.fleet.pod("east", "client"), url(self.vips[0], 80), 60, "-4")
        self.assertEqual((seen["-"], {name.split("-")[0] for name in seen if seen[name]}),
                         (0, {"east", "west", "north"}), seen)

    def hubs_return(self):
        for etcd in self.etcds:
            etcd.start()
        for etcd in self.etcds:
            self.east.wait_hub(etcd.cluster, "in sync")
        wait_until(lambda: not self.restored(self.east), what="every object is confirmed")
        self.fleet.wait_peers()

    def test_after_a_crash_and_what_changed_meanwhile_is_found(self):
        gone = pod("west-web-1").ipv4
        west = self.fleet.hub.etcds["west"]
        self.restart_without_hubs(self.kill)
        self.assertIn(gone, {row["address"] for row in self.east.query("endpoints")["endpoints"]})
        west.start()
        self.east.wait_hub("west", "in sync")
        self.east.kill()
        west.write({}, [f"cilium/state/ip/v1/default/{gone}"])
        self.addCleanup(lambda: (self.fleet.hub.publish(plan.cluster("west")), self.east.wait_endpoints([gone])))
        self.serve(self.east)
        wait_until(lambda: gone not in {row["address"] for row in self.east.query("endpoints")["endpoints"]},
                   timeout=60, what="the endpoint that was removed meanwhile is gone")
        self.etcds[1].start()
        self.east.wait_hub("north", "in sync")
        wait_until(lambda: not self.restored(self.east), what="every object is confirmed")

    def test_after_an_orderly_stop(self):
        self.restart_without_hubs(self.stop)
        self.hubs_return()

    def test_a_damaged_state_is_named_and_the_gateway_starts_without_it(self):
        self.kept(self.east)
        self.east.kill()
        folder = os.path.join(self.east.known, "east-1.known")
        for name in os.listdir(folder):
            with open(os.path.join(folder, name), "r+b") as file:
                size = os.path.getsize(file.name)
                file.seek(size // 3)
                file.write(b"\xa5" * (size // 2))
        self.east.start()
        self.fleet.wait_peers()
        self.assertTrue([row for row in self.east.status()["problems"]
                         if "what was known before the restart is not used" in row["what"]])
        self.assertIsNotNone(ping(self.fleet.pod("east", "client"), pod("west-web-0").ipv4, count=1))

    def test_a_gateway_that_the_hub_lost_stays_while_it_answers(self):
        west = self.fleet.hub.etcds["west"]
        self.addCleanup(lambda: (self.fleet.hub.publish(plan.cluster("west")), self.fleet.wait_peers()))
        before = self.east.hub_part("west")["events"]
        west.write({}, ["cilium/state/isthmus/gateways/v1/west/west-1",
                        "cilium/state/services/v1/west/kube-system/isthmus-gateway"])
        wait_until(lambda: self.east.hub_part("west")["events"] >= before + 2, what="the hub says that it is gone")
        wait_until(lambda: [row for row in self.east.status()["problems"] if "no longer in the hub" in row["what"]],
                   what="it is listed")
        self.assertIn("west-1", self.east.live_peers())
        self.assertIsNotNone(ping(self.fleet.pod("east", "client"), pod("west-web-0").ipv4, count=1))


class WithAFolder(Restarting, FleetCase):
    """East's gateways start while the folder that is their hub is not mounted, or is mounted later."""

    @classmethod
    def prepare(cls):
        cls.east = [cls.fleet.gateways[name] for name in ("east-1", "east-2")]
        cls.folder = cls.fleet.hub.folder

    def mount(self):
        away = self.folder + ".away"
        for name in os.listdir(away) if os.path.isdir(away) else ():
            os.rename(os.path.join(away, name), os.path.join(self.folder, name))

    def unmount(self, *names):
        self.addCleanup(self.mount)
        os.makedirs(self.folder + ".away", exist_ok=True)
        for name in names:
            os.rename(os.path.join(self.folder, name), os.path.join(self.folder + ".away", name))

    def passes(self, cluster):
        return pinged_through_all(self.fleet.pod(cluster, "client"), pod("east-web-0").ipv4)

    def test_an_empty_folder_removes_nothing_and_opens_nothing(self):
        self.fleet.hub.write(policy_file("east", "web"), [cilium_policy(
            "web", "web", f"  ingress:\n  - fromEndpoints: {peers('west', 'client')}\n")])
        self.addCleanup(self.fleet.hub.remove, policy_file("east", "web"))
        self.addCleanup(self.mount)  # before the file is removed from it
        wait_until(lambda: not self.passes("north"), what="the policy denies north's client")
        self.assertTrue(self.passes("west"))
        for gateway in self.east:
            self.kept(gateway)
            self.kill(gateway)
        self.unmount("fleet", "clusters")
        for gateway in self.east:
            self.serve(gateway)
        self.fleet.wait_peers()
        self.assertEqual((self.passes("west"), self.passes("north")), (True, False))
        self.assertTrue([row for row in self.east[0].status()["problems"] if "policies are not known" in row["what"]])
        self.mount()
        for gateway in self.east:
            wait_until(lambda one=gateway: not self.restored(one), what="every object is confirmed")
        self.assertEqual((self.passes("west"), self.passes("north")), (True, False))

    def test_own_parameters_that_changed_meanwhile_are_taken_when_the_folder_says_them(self):
        gateway = self.east[0]
        wait_until(lambda: not self.restored(gateway), what="every object is confirmed")
        name = os.path.join(self.folder, "fleet", "fleet.yaml")
        with open(name, encoding="utf-8") as file:
            right = file.read()
        own = gateway.gateway.underlay
        wrong = right.replace(f'"{own}"', f'"{own}9"')
        self.assertNotEqual(wrong, right)
        self.addCleanup(self.fleet.wait_peers)
        self.addCleanup(self.fleet.hub.write, "fleet/fleet.yaml", [right])
        self.fleet.hub.write("fleet/fleet.yaml", [wrong])
        wait_until(lambda: [row for row in gateway.status()["problems"] if "has changed in the hub" in row["what"]],
                   what="the change is listed")
        self.kept(gateway)
        self.kill(gateway)
        self.fleet.hub.write("fleet/fleet.yaml", [right])
        self.unmount("fleet")
        self.serve(gateway)  # with what it knew last, which is wrong
        self.mount()
        self.fleet.wait_peers()
        self.assertFalse([row for row in gateway.status()["problems"] if "has changed in the hub" in row["what"]])


class WithoutApiServers(Restarting, KubernetesFleet):
    """East's own API server and the Fleet hub are away; own pods are under the policy of before."""

    settings = {"unknown_endpoint_hold": "10m", "hub_wait": WAIT}

    def setUp(self):
        self.addCleanup(self.restore)
        self.fleet.hub.write(policy_file("east", "web"), [cilium_policy(
            "web", "web", f"  ingress:\n  - fromCIDR: [{pod('west-client').ipv4}/32]\n")])
        wait_until(lambda: not self.answered("north", "east-web-0"), what="the policy denies north's client")
        self.gateways = [self.fleet.gateways[name] for name in ("east-1", "east-2")]
        for gateway in self.gateways:
            self.kept(gateway)

    def restore(self):
        for name in ("east", FLEET):
            if not self.servers[name].alive:
                self.servers[name].start()
        self.fleet.hub.remove(policy_file("east", "web"))
        wait_until(lambda: self.answered("north", "east-web-0"), timeout=RETRIES, what="the policy is removed")

    def servers_leave(self):
        for name in ("east", FLEET):
            self.servers[name].kill()

    def exchanged(self):
        """Which of the packets into east that policy allows, that it denies, and out of east arrive."""
        return (self.answered("west", "east-web-0"), self.answered("north", "east-web-0"),
                self.answered("east", "west-web-0"))

    def test_policy_and_services_are_those_of_before(self):
        self.servers_leave()
        self.kill(self.gateways[0])
        self.stop(self.gateways[1])
        for gateway in self.gateways:
            self.serve(gateway)
        self.fleet.wait_peers()
        self.assertEqual(self.exchanged(), (True, False, True))
        seen = curl_many(self.fleet.pod("east", "client"), url(self.vips[0], 80), 20, "-4")
        self.assertEqual({name.split("-")[0] for name in seen if seen[name] and name != "-"}, {"west", "north"},
                         f"{seen}: the policy denies east's own client")
        for name in ("east", FLEET):
            self.servers[name].start()
        for gateway in self.gateways:
            wait_until(lambda one=gateway: not self.restored(one), timeout=RETRIES, what="every object is confirmed")
        self.assertEqual(self.exchanged(), (True, False, True))

    def test_without_what_was_known_nothing_passes(self):
        self.servers_leave()
        for gateway in self.gateways:
            self.stop(gateway)
            shutil.rmtree(gateway.known, ignore_errors=True)
            gateway.start(wait=False)
        time.sleep(3)
        self.assertEqual(self.exchanged(), (False, False, False))
        self.assertEqual(self.gateways[0].status()["hub"]["restored"], [])


if __name__ == "__main__":
    unittest.main()
