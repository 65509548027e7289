"""What a Service asks for besides its ports, in the fleet with real clients: who may call it, which backends answer."""

import unittest

from fleet_case import FleetCase, addresses, backends, plan, pod, url, wait_until
from fleet.policies import policy_file
from fleet.traffic import SteadyRequests, curl, curl_many

CLUSTERS = {entry.name for entry in plan.CLUSTERS}
CLIENTS = ("east-client", "west-client", "north-client")  # each asks one gateway
GOSSIP = 7946
NOTHING = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress, Egress]
"""
# A member of a service that sends and answers by one port. Prints each member that has asked or answered it.
MEMBER = """
import socket, sys, time
own, seconds, *targets = sys.argv[1:]
s = socket.socket(socket.AF_INET6 if ':' in own else socket.AF_INET, socket.SOCK_DGRAM)
s.bind((own, 7946))
s.settimeout(0.1)
seen, end = set(), time.monotonic() + float(seconds)
while time.monotonic() < end:
    for target in targets:
        s.sendto(b'ask', (target, 7946))
    try:
        while True:
            text, sender = s.recvfrom(100)
            seen.add((text.decode(), sender[0]))
            if text == b'ask':
                s.sendto(b'answer', sender)
    except TimeoutError:
        pass
for row in sorted(seen):
    print(*row)
"""


class ServiceCase(FleetCase):
    @classmethod
    def prepare(cls):
        cls.vips = cls.make_global()

    def netns(self, name):
        return self.fleet.pod(*name.split("-", 1))

    def ask(self, name, vip, count=40, *options):
        return curl_many(self.netns(name), url(vip, 80), count, *options)


class Hairpin(ServiceCase):
    """Backends are clients of their own service."""

    def test_every_backend_is_answered_by_itself_and_by_the_others(self):
        for vip in self.vips:
            for member in backends():
                with self.subTest(backend=member.full_name, vip=vip):
                    answers = self.ask(member.full_name, vip, 80)
                    self.assertEqual(answers["-"], 0, self.drops())
                    self.assertGreater(answers[member.full_name], 0, "never answered by itself")
                    self.assertEqual({name.split("-")[0] for name in answers if answers[name]}, CLUSTERS)
        self.assertEqual(self.checksum_errors(), {})

    def test_no_policy_keeps_a_backend_from_itself(self):
        self.fleet.hub.write(policy_file("west", "closed"), [NOTHING])
        self.addCleanup(self.fleet.hub.remove, policy_file("west", "closed"))

        def answered():
            answers = self.ask("west-web-0", self.vips[0], 60, "--max-time", "0.5")
            return {name for name in answers if answers[name]}
        wait_until(lambda: answered() == {"west-web-0", "-"}, timeout=120, what="only itself answers")
        self.assertGreater(self.drops("west-1").get("policy_denied", 0), 0)

    def test_members_that_send_by_the_port_that_they_serve_reach_each_other(self):
        for cluster in plan.CLUSTERS:
            self.fleet.hub.write_service(cluster, "members", ports=(("gossip", "UDP", GOSSIP, GOSSIP),))
        self.fleet.allocate("shop/members")
        self.fleet.wait_backends("shop/members", addresses(backends()))
        members = [pod("east-web-2"), pod("west-web-0"), pod("north-web-1")]
        for used in ([entry.ipv4 for entry in members], [entry.ipv6 for entry in members]):
            running = []
            for entry, own in zip(members, used):
                others = [address for address in used if address != own]
                log = f"{self.fleet.folder}/log/member-{own}"
                running.append((own, others, log, self.netns(entry.full_name).start(
                    "member", ["/usr/bin/python3", "-c", MEMBER, own, "6", *others], log)))
            for own, others, log, daemon in running:
                wait_until(lambda daemon=daemon: not daemon.alive, what="the members have ended")
                with open(log, encoding="ascii") as file:
                    seen = {tuple(line.split()) for line in file}
                self.assertEqual(seen, {(text, other) for text in ("ask", "answer") for other in others}, own)


class Asking(ServiceCase):
    """What a cluster's own Service asks for, for its clients."""

    def ask_for(self, cluster, spec, **annotations):
        """Rewrites the cluster's Service until the end of the test."""
        entry = plan.cluster(cluster)
        self.fleet.hub.write_service(entry, spec=spec, annotations={
            f"service.cilium.io/{key.replace('_', '-')}": value for key, value in annotations.items()})
        self.addCleanup(self.fleet.wait_backends, "shop/web", addresses(backends()))
        self.addCleanup(self.fleet.hub.write_service, entry)

    def answered(self, name, vip, count=8):
        """The names of all that answer."""
        answers = self.ask(name, vip, count, "--max-time", "0.5")
        return {each for each in answers if answers[each]}

    def test_only_clients_inside_the_source_ranges_are_served(self):
        client, other = pod("east-client"), pod("east-client3")
        ipv4, ipv6 = self.vips
        self.assertNotIn("-", self.answered("east-client", ipv4) | self.answered("east-client3", ipv6))
        self.ask_for("east", f'loadBalancerSourceRanges: [{client.ipv4}/32, "{client.ipv6}/128"]')
        for vip in self.vips:
            wait_until(lambda vip=vip: self.answered("east-client3", vip) == {"-"}, what="the other client is refused")
            self.assertNotIn("-", self.answered("east-client", vip), self.drops())
        self.assertGreater(self.drops("east-1", "east-2")["source_range"], 0)
        self.assertNotIn("-", self.answered("west-client", ipv4), "west's clients are served by west's Service")
        direct = pod("west-web-0")
        self.assertEqual(curl(self.netns(other.full_name), url(direct.ipv4, plan.cluster("west").http_port))[0], 0)

        self.ask_for("east", f"loadBalancerSourceRanges: [{client.ipv4}/32]", src_ranges_policy="deny")
        wait_until(lambda: self.answered("east-client", ipv4) == {"-"}, what="the client is refused")
        self.assertNotIn("-", self.answered("east-client3", ipv4))
        self.assertNotIn("-", self.answered("east-client", ipv6), "no range of IPv6 is denied")

    def test_a_connection_ends_when_its_client_is_not_served_any_more(self):
        client = pod("north-client")
        steady = SteadyRequests(self.netns("north-client"), self.vips[0], 80,
                                f"{self.fleet.folder}/log/served", 20)
        self.addCleanup(steady.stop)
        wait_until(lambda: len(steady.rows()) > 20, what="steady traffic")
        self.ask_for("north", f"loadBalancerSourceRanges: [{client.ipv4}/32]", src_ranges_policy="deny")
        wait_until(lambda: steady.rows()[-1][3] != "-", what="requests fail")

    def test_internal_traffic_policy_local_keeps_clients_in_their_cluster(self):
        self.ask_for("west", "internalTrafficPolicy: Local")
        local = {entry.full_name for entry in backends("west")}
        for vip in self.vips:
            wait_until(lambda vip=vip: self.answered("west-client", vip, 40) == local, what="only west answers")
        self.assertGreater(len(self.answered("east-client", self.vips[0], 40)), 3, "east's clients go anywhere")
        self.fleet.hub.write_service(plan.cluster("west"), spec="internalTrafficPolicy: Local", drained=True)
        wait_until(lambda: self.answered("west-client", self.vips[0]) == {"-"}, what="no other cluster's answer")
        self.assertGreater(self.drops("west-1")["no_live_backend"], 0)

    def test_the_backends_of_the_gateways_zone_are_preferred_while_there_are_any(self):
        near = {entry.full_name for entry in backends("east") if entry.node == "node1"}
        self.ask_for("east", "trafficDistribution: PreferSameZone")
        for vip in self.vips:
            wait_until(lambda vip=vip: self.answered("east-client", vip, 20) == near, what="only its zone answers")
        self.fleet.hub.write_service(plan.cluster("east"), spec="trafficDistribution: PreferSameZone",
                                     backends=[entry for entry in backends("east") if entry.full_name not in near])
        wait_until(lambda: len({name.split("-")[0] for name in self.answered("east-client", self.vips[0], 40)}) == 3,
                   what="all clusters answer")

    def test_a_backend_that_appears_starts_slowly_and_gets_its_whole_share(self):
        east, (first, *others) = plan.cluster("east"), backends("east")
        slowly = {"isthmus.io/slow-start": "8s"}
        self.addCleanup(self.fleet.wait_backends, "shop/web", addresses(backends()))
        self.addCleanup(self.fleet.hub.write_service, east)
        self.fleet.hub.write_service(east, annotations=slowly, backends=others)
        self.fleet.wait_backends("shop/web", addresses(entry for entry in backends() if entry != first))

        def percents():
            """Of its weight, that it has at its cluster's gateways, in both families."""
            return {backend["weight_percent"] for name in ("east-1", "east-2")
                    for row in self.fleet.gateways[name].query("services", "--service", "shop/web")["frontends"]
                    for backend in row["backends"] if backend["address"] in first.fleet_addresses}
        self.fleet.hub.write_service(east, annotations=slowly)
        wait_until(lambda: percents() and max(percents()) < 100, what="it starts slowly")
        wait_until(lambda: percents() == {100}, what="it has its whole share")
        for vip in self.vips:
            answers = self.ask("east-client", vip, 100)
            self.assertEqual(answers["-"], 0, self.drops())
            self.assertGreater(answers[first.full_name], 0)

    def test_clients_keep_their_backend_when_others_come_and_until_it_goes(self):
        affinity = "sessionAffinity: ClientIP; sessionAffinityConfig: {clientIP: {timeoutSeconds: 600}}"
        clients = [(name, vip) for name in CLIENTS for vip in self.vips]
        first, *others = backends("west")
        for entry in plan.CLUSTERS:
            self.ask_for(entry.name, affinity)
            self.fleet.hub.write_service(entry, spec=affinity, drained=entry.name != "west",
                                         backends=[first] if entry.name == "west" else None)
        for name, vip in clients:
            wait_until(lambda name=name, vip=vip: self.answered(name, vip) == {first.full_name}, what="one is left")
        for entry in plan.CLUSTERS:
            self.fleet.hub.write_service(entry, spec=affinity)
        self.fleet.wait_backends("shop/web", addresses(backends()))
        for name, vip in clients:
            self.assertEqual(self.answered(name, vip, 16), {first.full_name}, name)
        self.fleet.hub.write_service(plan.cluster("west"), spec=affinity, backends=others)
        self.fleet.wait_backends("shop/web", addresses(entry for entry in backends() if entry != first))
        kept = {}
        for name, vip in clients:
            kept[name, vip] = self.answered(name, vip, 16)
            self.assertEqual((len(kept[name, vip]), kept[name, vip] & {"-", first.full_name}), (1, set()), name)
        self.fleet.hub.write_service(plan.cluster("west"), spec=affinity)
        self.fleet.wait_backends("shop/web", addresses(backends()))
        self.assertEqual({each: self.answered(*each, 16) for each in clients}, kept)


if __name__ == "__main__":
    unittest.main()
