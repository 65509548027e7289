"""Hubble's command line reads our flows: it accepts every field, prints the same lines and filters alike."""

import json
import os
import re
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "netns"))

import go_program  # noqa: E402
from fleet_case import PROGRAM, FleetCase, plan, pod, url, wait_until  # noqa: E402
from fleet.policies import cilium_policy, peers, policy_file, port  # noqa: E402
from fleet.shell import run  # noqa: E402
from fleet.traffic import curl, ping  # noqa: E402

EAST = plan.cluster("east")
# Time, source, its identity, arrow, destination, its identity, type, verdict, policies (ours only), summary.
LINE = re.compile(r"^(\w{3} [ \d]\d [\d:]{8}\.\d{3}): (\S+) (\(\S+\)) (->|<-|<>) (\S+) (\(\S+\)) (.+?) "
                  r"(FORWARDED|DROPPED|ALLOWED|DENIED|AUDITED)( \[[^]]+\])? (\(.*\))$")


class Hubble(FleetCase):
    """Policies are in audit mode, so that flows of all kinds occur: opened, closed, dropped, audited."""

    settings = {"policy": "{audit: true}"}

    @classmethod
    def make_fleet(cls):
        folder = tempfile.TemporaryDirectory(prefix="ist-hubble-")
        cls.addClassCleanup(folder.cleanup)
        cls.hubble = go_program.build(folder.name, "hubble", "cilium", "github.com/cilium/cilium/hubble",
                                      ["-ldflags=-s -w"])
        return super().make_fleet()

    @classmethod
    def prepare(cls):
        cls.vips = cls.make_global()
        cls.fleet.hub.write(policy_file("east", "web"), [cilium_policy("web", "web", f"""\
  ingress:
  - fromEndpoints: {peers("west", "client")}
  ingressDeny:
  - fromEndpoints: {peers("north", "client")}
    toPorts: {port(EAST.http_port)}
""")])
        client, target = cls.fleet.pod("west", "client"), pod("east-web-0")
        for address in (target.ipv4, target.ipv6):
            curl(client, url(address, EAST.http_port))
            ping(client, address)
        curl(client, url(cls.vips[0], 80))
        curl(client, url(cls.vips[0], 4711), timeout=1)  # the service has no such port
        send_datagram = ["/usr/bin/python3", "-c", "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM)"
                   f".sendto(b'x', ('{target.ipv4}', 9))"]
        client.run(send_datagram)

        def audited():
            curl(cls.fleet.pod("north", "client"), url(target.ipv4, EAST.http_port))
            return any(cls.lines_of(name, "--verdict", "audit") for name in ("east-1", "east-2"))
        wait_until(audited, timeout=60, what="an audited flow")

    @classmethod
    def ask(cls, gateway, *options):
        return run([PROGRAM, "flows", "--socket", cls.fleet.gateways[gateway].socket, *options],
                   env=dict(os.environ, TZ="UTC")).stdout

    @classmethod
    def lines_of(cls, gateway, *options):
        return cls.ask(gateway, "-o", "json", "--last", "1000", *options).splitlines()

    def observe(self, lines, *options):
        """Hubble's output for the lines; it must not report an error."""
        done = subprocess.run([self.hubble, "observe", "--input-file", "-", *options], input="\n".join(lines) + "\n",
                              capture_output=True, text=True, check=True, env=dict(os.environ, HOME="/nonexistent"))
        self.assertEqual(done.stderr, "")
        return done.stdout.splitlines()

    def settled(self, gateway):
        """The gateway's flows as JSON and as text, taken while no new flow was recorded."""
        def both():
            before, text, after = self.lines_of(gateway), self.ask(gateway, "--last", "1000"), self.lines_of(gateway)
            return (before, text.splitlines()) if before == after else None
        return wait_until(both, what="no new flow while reading")

    def test_hubble_accepts_every_field(self):
        for gateway in ("west-1", "east-1", "east-2"):
            lines = self.lines_of(gateway)
            self.assertTrue(lines)
            seen = self.observe(lines, "--output", "jsonpb", "--last", "1000")
            self.assertEqual([json.loads(line) for line in seen], [json.loads(line) for line in lines])

    def test_hubble_prints_the_same_lines(self):
        kinds = set()
        for gateway in ("west-1", "east-1", "east-2"):
            lines, ours = self.settled(gateway)
            theirs = self.observe(lines, "--output", "compact", "--last", "1000")
            self.assertEqual(len(ours), len(theirs))
            for line, own, other in zip(lines, ours, theirs):
                flow = json.loads(line)["flow"]
                mine, hubbles = LINE.match(own), LINE.match(other)
                self.assertTrue(mine and hubbles, f"{own}\n{other}")
                time, source, source_identity, arrow, target, target_identity, kind, verdict, _, summary = mine.groups()
                # Equal except for what Hubble does not print: another cluster's name, and our own drop reason.
                source, target = (re.sub(r"^(east|west|north)/", "", party) for party in (source, target))
                if verdict == "DROPPED":
                    self.assertIn(flow["extensions"]["value"]["drop_reason"], kind)
                    kind = hubbles[7]
                self.assertEqual((time, source, source_identity, arrow, target, target_identity, kind, verdict, None,
                                  summary), hubbles.groups())
                kinds.add((hubbles[7], verdict, summary))
        for expected in (("to-overlay", "FORWARDED", "(TCP Flags: SYN)"), ("to-overlay", "FORWARDED", "(UDP)"),
                         ("to-endpoint", "FORWARDED", "(TCP Flags: SYN, ACK)"),
                         ("to-overlay", "FORWARDED", "(TCP Flags: ACK, FIN)"),
                         ("to-overlay", "FORWARDED", "(ICMPv6 EchoRequest)"),
                         ("Is a ClusterIP", "DROPPED", "(TCP Flags: SYN)"),
                         ("policy-verdict:L3-L4 INGRESS", "AUDITED", "(TCP Flags: SYN)")):
            self.assertIn(expected, kinds)

    def test_hubbles_filters_select_the_same_flows(self):
        lines = self.lines_of("west-1")
        target = pod("east-web-0")
        for theirs, ours in ((["--verdict", "DROPPED"], ["--verdict", "dropped"]),
                             (["--from-pod", "shop/client"], ["--from-pod", "shop/client"]),
                             (["--identity", str(target.identity)], ["--identity", str(target.identity)]),
                             (["--protocol", "icmp"], ["--protocol", "icmp"]),
                             (["--ip", target.ipv4], ["--ip", target.ipv4])):
            with self.subTest(filter=theirs):
                found = self.observe(lines, "--output", "jsonpb", "--last", "1000", *theirs)
                expected = self.lines_of("west-1", *ours)
                self.assertTrue(expected)
                self.assertEqual([json.loads(line)["time"] for line in found],
                                 [json.loads(line)["time"] for line in expected])


if __name__ == "__main__":
    unittest.main()
