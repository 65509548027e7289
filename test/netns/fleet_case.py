"""Shared by the end-to-end tests: a fleet per test class, and the paths of the built programs."""

import os
import sys
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "test", "support"))

from fleet import plan  # noqa: E402
from fleet.fleet import Fleet  # noqa: E402
from fleet.plan import pod  # noqa: E402,F401
from fleet.shell import CommandError, wait_until  # noqa: E402,F401
from fleet.traffic import SteadyRequests  # noqa: E402

BUILD = os.environ.get("ISTHMUS_BUILD", os.path.join(ROOT, "build"))
PROGRAM = os.environ.get("ISTHMUS_PROGRAM", os.path.join(BUILD, "control", "cli", "isthmus"))
LOAD = os.path.join(BUILD, "test", "netns", "fleet-load")
PREFIX = f"ist-t{os.getpid()}-"

# Kernel counters of packets with a wrong checksum.
CHECKSUM_COUNTERS = ("TcpInCsumErrors", "UdpInCsumErrors", "IcmpInCsumErrors", "Udp6InCsumErrors", "Icmp6InCsumErrors")


def backends(cluster=None):
    """All backend pods, or those of one cluster."""
    return [pod for entry in plan.CLUSTERS if cluster in (None, entry.name) for pod in entry.pods() if pod.backend]


def addresses(pods):
    """As gateways list them."""
    return [address for entry in pods for address in entry.fleet_addresses]


def url(address, port):
    return f"http://[{address}]:{port}/" if ":" in address else f"http://{address}:{port}/"


class SteadyTraffic:
    """Mix-in for a FleetCase with `vips`: checks that an event does not disturb running traffic."""

    def steady(self, name):
        """Starts steady requests from east to the global service; end with assert_undisturbed()."""
        traffic = SteadyRequests(self.fleet.pod("east", "client"), self.vips[0], 80,
                                 os.path.join(self.fleet.folder, "log", f"steady-{name}.log"))
        self.addCleanup(traffic.stop)
        wait_until(lambda: len(traffic.rows()) > 20, what="steady traffic")
        return traffic

    def assert_undisturbed(self, traffic):
        """No request has failed until one second from now, and west's backends still answer."""
        now = time.monotonic()
        wait_until(lambda: traffic.rows()[-1][0] > now + 1, what="traffic after the event")
        rows = traffic.stop()
        self.assertEqual([row for row in rows if row[3] != "-"], [])
        self.assertTrue(any(row[2].startswith("west") for row in rows if row[0] > now), "no answer from west")


class FleetCase(unittest.TestCase):
    """A test class with one running fleet, whose gateways see each other as alive.

    `settings`: of the gateways. `hub`: as for Fleet.
    """

    settings = {}
    hub = "file"
    longMessage = True
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        if os.geteuid() != 0:
            raise unittest.SkipTest("needs root")
        cls.fleet = cls.make_fleet()
        cls.addClassCleanup(cls.close_fleet)
        cls.fleet.build()
        cls.fleet.start_servers()
        cls.fleet.start_resolvers()
        cls.fleet.start_gateways()
        cls.fleet.wait_peers()
        cls.prepare()

    @classmethod
    def make_fleet(cls):
        return Fleet(PROGRAM, PREFIX, cls.settings, cls.hub)

    @classmethod
    def close_fleet(cls):
        """Every gateway must exit with status 0; under a sanitizer this means that it found no error."""
        failed = cls.fleet.close()
        if failed:
            raise AssertionError("gateways did not exit cleanly:\n" + "\n".join(failed))

    @classmethod
    def prepare(cls):
        """Sets up what a test class needs in addition to the fleet."""

    @classmethod
    def make_global(cls, clusters=plan.CLUSTERS):
        """Makes shop/web global in the given clusters, waits until every gateway has its backends; returns its VIPs."""
        vips = cls.fleet.allocate()
        for cluster in clusters:
            cls.fleet.hub.write_service(cluster)
        pods = [entry for cluster in clusters for entry in backends(cluster.name)]
        cls.fleet.wait_backends("shop/web", addresses(pods))
        return vips

    def run(self, result=None):
        """On failure, prints the end of the gateways' logs."""
        before = len(result.failures) + len(result.errors) if result is not None else 0
        super().run(result)
        if result is not None and len(result.failures) + len(result.errors) > before and hasattr(self, "fleet"):
            print("\n".join(f"      . {line}" for line in self.fleet.log_tails()))

    def drops(self, *gateways):
        """Dropped packets by reason, summed over the given gateways (default: all)."""
        total = {}
        for name, reasons in self.fleet.drops().items():
            if not gateways or name in gateways:
                for reason, count in reasons.items():
                    total[reason] = total.get(reason, 0) + count
        return total

    def checksum_errors(self):
        """Checksum errors counted by the kernel: {network namespace: {counter: n}}."""
        found = {}
        for netns in self.fleet.topology.namespaces.values():
            rows = [line.split() for line in netns.run(["nstat", "-asz"]).stdout.splitlines()[1:]]
            wrong = {row[0]: int(row[1]) for row in rows if row[0] in CHECKSUM_COUNTERS and int(row[1])}
            if wrong:
                found[netns.name] = wrong
        return found
