"""Flow events and metrics of traffic between clusters: live, filtered, as JSON and as text."""

import json
import os
import re
import signal
import unittest

from prometheus_client.parser import text_string_to_metric_families

from fleet_case import PROGRAM, FleetCase, plan, pod, url, wait_until
from fleet.shell import run
from fleet.traffic import curl, ping

COMPACT = re.compile(r"^\w{3} [ \d]\d \d\d:\d\d:\d\d\.\d{3}: \S+ \((ID:\d+|[a-z0-9-]+)\) (->|<-|<>) \S+ "
                     r"\((ID:\d+|[a-z0-9-]+)\) .+ (FORWARDED|DROPPED|ALLOWED|DENIED|AUDITED)( \[[^]]+\])? \(.*\)$")


class Flows(FleetCase):
    """West's client connects to pods of other clusters; the gateways of both clusters report it."""

    @classmethod
    def prepare(cls):
        cls.vips = cls.make_global()

    def flows(self, gateway, *options):
        """The output of `isthmus flows -o json`, a value per line."""
        done = run([PROGRAM, "flows", "-o", "json", "--socket", self.fleet.gateways[gateway].socket, *options])
        return [json.loads(line) for line in done.stdout.splitlines()]

    def reported(self, gateway, *options):
        """The flow objects, without records of lost events."""
        return [line["flow"] for line in self.flows(gateway, *options) if "flow" in line]

    def follow(self, gateway, *options):
        """Starts `isthmus flows --follow`; its output goes to a file."""
        node = self.fleet.node(gateway.split("-")[0], self.node_of(gateway))
        log = os.path.join(self.fleet.folder, "log", f"follow-{self.id().rsplit('.', 1)[-1]}-{gateway}")
        daemon = node.start("follow", [PROGRAM, "flows", "--follow", "--socket",
                                       self.fleet.gateways[gateway].socket, *options], log)
        self.addCleanup(daemon.stop)
        wait_until(lambda: self.fleet.gateways[gateway].status()["flows"]["readers"] > 0,
                   what="the follower is connected")
        return daemon

    @staticmethod
    def node_of(gateway):
        return next(entry.node for entry in plan.gateways() if entry.name == gateway)

    @staticmethod
    def lines(daemon):
        with open(daemon.log, encoding="utf-8") as file:
            return file.read().splitlines()

    def test_both_gateways_report_a_new_connection_live(self):
        followers = {name: self.follow(name, "-o", "json", "--to-pod", "shop/web-0", "--protocol", "tcp")
                     for name in ("west-1", "east-1", "east-2")}
        target, client = pod("east-web-0"), pod("west-client")
        status, body = curl(self.fleet.pod("west", "client"), url(target.ipv4, plan.cluster("east").http_port))
        self.assertEqual(status, 0, body)

        def opened(names):
            found = [json.loads(line)["flow"] for name in names for line in self.lines(followers[name])]
            return [flow for flow in found if flow["source"].get("pod_name") == "client"]

        sent = wait_until(lambda: opened(["west-1"]), what="west reports the connection")[0]
        self.assertEqual((sent["verdict"], sent["traffic_direction"], sent["trace_observation_point"],
                          sent["is_reply"]),
                         ("FORWARDED", "EGRESS", "TO_OVERLAY", False))
        self.assertEqual((sent["IP"]["source"], sent["IP"]["destination"]), (client.ipv4, target.ipv4))
        self.assertEqual(sent["source"]["cluster_name"], "west")
        self.assertEqual(sent["destination"]["cluster_name"], "east")
        self.assertEqual(sent["source"]["identity"], client.identity)
        self.assertEqual(sent["destination"]["identity"], target.identity)
        self.assertIn("k8s:app=client", sent["source"]["labels"])
        self.assertEqual(sent["l4"]["TCP"]["destination_port"], plan.cluster("east").http_port)
        self.assertEqual(sent["l4"]["TCP"]["flags"], {"SYN": True})

        received = wait_until(lambda: opened(["east-1", "east-2"]), what="east reports the connection")[0]
        self.assertEqual((received["verdict"], received["traffic_direction"], received["trace_observation_point"]),
                         ("FORWARDED", "INGRESS", "TO_ENDPOINT"))
        self.assertEqual(received["tunnel"]["vni"], client.identity)
        self.assertEqual(received["tunnel"]["IP"]["source"], "203.0.113.11")

    def test_the_fin_of_each_direction_is_reported(self):
        """The first FIN of each direction, by the gateway that forwards it."""
        target = pod("east-web-0")
        status, body = curl(self.fleet.pod("west", "client"), url(target.ipv4, plan.cluster("east").http_port))
        self.assertEqual(status, 0, body)

        def ends():
            flows = self.reported("west-1", "--last", "1000", "--ip", target.ipv4, "--protocol", "tcp")
            return [flow for flow in flows if "FIN" in flow["l4"]["TCP"].get("flags", {})]
        flows = wait_until(lambda: {flow["is_reply"] for flow in ends()} == {False, True} and ends(),
                           what="FINs of both directions are reported")
        for flow in flows:
            self.assertEqual((flow["verdict"], flow["Summary"]), ("FORWARDED", "TCP Flags: ACK, FIN"))
            self.assertEqual({flow["source"]["pod_name"], flow["destination"]["pod_name"]}, {"client", "web-0"})
            self.assertEqual(flow["trace_reason"], "REPLY" if flow["is_reply"] else "ESTABLISHED")

    def test_a_flow_to_a_vip_names_the_service(self):
        status, body = curl(self.fleet.pod("west", "client"), url(self.vips[0], 80))
        self.assertEqual(status, 0, body)
        flow = wait_until(lambda: self.reported("west-1", "--ip", self.vips[0], "--verdict", "forwarded"),
                          what="the flow is reported")[0]
        self.assertEqual(flow["destination_service"], {"namespace": "shop", "name": "web"})
        self.assertTrue(flow["destination"]["pod_name"].startswith("web-"), flow)

    def test_a_drop_is_reported_with_its_reason_in_hubbles_format(self):
        before = self.drops("west-1").get("no_frontend", 0)
        follower = self.follow("west-1", "--verdict", "dropped", "--from-pod", "shop/client")
        self.assertNotEqual(curl(self.fleet.pod("west", "client"), url(self.vips[0], 4711), timeout=2)[0], 0)
        lines = wait_until(lambda: self.lines(follower), what="the drop is reported")
        for line in lines:
            self.assertRegex(line, COMPACT)
            self.assertIn("(no_frontend) DROPPED (TCP Flags: SYN)", line)
            self.assertIn("shop/client:", line)
            self.assertIn(f"<> {self.vips[0]}:4711 ", line)
        flows = self.reported("west-1", "--last", "1000", "--drop-reason", "no_frontend", "--port", "4711")
        self.assertEqual(len(flows), self.drops("west-1")["no_frontend"] - before, "not every drop was reported")
        self.assertEqual({flow["drop_reason_desc"] for flow in flows}, {"IS_A_CLUSTERIP"})
        self.assertEqual(flows, self.reported("west-1", "--last", "1000", "--drop-reason", "174", "--port", "4711"))

    def test_filters_select_flows(self):
        self.assertTrue(ping(self.fleet.pod("west", "client"), pod("north-web-1").ipv6))
        flows = wait_until(
            lambda: self.reported("west-1", "--cluster", "north", "--protocol", "icmpv6", "--pod", "web-1"),
            what="flows of the ping")
        for flow in flows:
            self.assertIn("ICMPv6", flow["l4"])
            self.assertIn("north", (flow["source"]["cluster_name"], flow["destination"]["cluster_name"]))
        number = str(pod("north-web-1").identity)
        self.assertTrue(self.reported("west-1", "--identity", number))
        self.assertEqual(self.reported("west-1", "--identity", "4"), [])
        self.assertEqual(self.reported("west-1", "--namespace", "prod"), [])
        self.assertTrue(self.reported("west-1", "--namespace", "shop", "--protocol", "icmpv6"))
        self.assertTrue(self.reported("west-1", "--since", "1h"))
        self.assertEqual(self.reported("west-1", "--since", "2099-01-01T00:00:00Z"), [])
        self.assertEqual(len(self.reported("west-1", "--last", "1")), 1)

    def test_invalid_options_are_named_in_the_error(self):
        socket = self.fleet.gateways["west-1"].socket
        for words, code in ((("--ip", "10.1"), 2), (("--drop-reason", "bad_luck"), 1)):
            done = run([PROGRAM, "flows", "--socket", socket, *words], check=False)
            self.assertEqual(done.returncode, code, done.stderr)
            self.assertIn(words[0], done.stderr)

    def test_metrics_equal_the_command_lines_figures(self):
        node = self.fleet.node("west", "node1")
        self.assertTrue(ping(self.fleet.pod("west", "client"), pod("east-web-0").ipv4))

        def page():
            return node.run(["curl", "-sS", "--fail", "http://127.0.0.1:9979/metrics"]).stdout

        def settled():
            """The metrics page, if no drop or new connection was counted while it was read."""
            gateway = self.fleet.gateways["west-1"]
            before = (gateway.drops(), gateway.status()["connections"]["created"])
            text = page()
            after = (gateway.drops(), gateway.status()["connections"]["created"])
            return (text, *after) if before == after else None

        text, drops, created = wait_until(settled, what="counters unchanged while the page is read")
        values = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                values[(sample.name, tuple(sorted(sample.labels.items())))] = sample.value
        for reason, count in drops.items():
            self.assertEqual(values[("isthmus_drops_total", (("reason", reason),))], count)
        total = sum(value for (name, _), value in values.items() if name == "cilium_drop_count_total")
        self.assertEqual(total, sum(drops.values()))
        self.assertEqual(values[("isthmus_connections_created_total", ())], created)
        self.assertEqual(values[("isthmus_peer_up", (("cluster", "north"), ("peer", "north-1")))], 1)
        self.assertEqual(values[("cilium_clustermesh_remote_clusters", ())], 2)
        self.assertGreater(values[("cilium_forward_count_total", (("direction", "EGRESS"),))], 0)
        self.assertTrue(any(name == "hubble_flows_processed_total" for name, _ in values))
        # Served on loopback only.
        address = plan.cluster("west").node_ipv4(plan.cluster("west").node("node1"))
        done = node.run(["curl", "-sS", "--max-time", "2", f"http://{address}:9979/metrics"], check=False)
        self.assertNotEqual(done.returncode, 0, "the metrics are reachable from the network")

    def test_packets_lost_while_the_gateway_hangs_are_named_with_their_device(self):
        """The steer program drops them; nothing of the engine sees them."""
        gateway, node = self.fleet.gateways["west-1"], self.fleet.node("west", "node1")
        gateway.daemon.signal(signal.SIGSTOP)
        self.addCleanup(self.fleet.wait_peers, timeout=150)
        try:
            self.fleet.pod("west", "client").run(["ping", "-n", "-q", "-c", "40", "-i", "0.1", "-W", "1",
                                                  pod("east-web-0").ipv4], check=False)
        finally:
            gateway.daemon.signal(signal.SIGCONT)
        rows = {row["name"]: loss for row in gateway.query("drops")["devices"] for loss in row["losses"]
                if loss["name"] == "dropped_by_steer.engine_down" and loss["count"]}
        self.assertGreater(sum(loss["count"] for loss in rows.values()), 10, rows)
        self.assertGreater(gateway.status()["packets"]["lost_at_devices"], 10)
        shown = run([PROGRAM, "drops", "--socket", gateway.socket]).stdout
        page = node.run(["curl", "-sS", "--fail", "http://127.0.0.1:9979/metrics"]).stdout
        for device in rows:
            self.assertRegex(shown, rf"(?s)device {device} \(.*dropped_by_steer.engine_down")
            self.assertRegex(page, rf'isthmus_steer_engine_down_dropped_total{{device="{device}",side="\w+"}} \d')


if __name__ == "__main__":
    unittest.main()
