"""The demonstration of packaging/quickstart: `quickstart_tour.py PROGRAM [--keep] [--hub file|etcd] | down`.

Brings up a fleet, demonstrates the main functions with curl and ping, prints a summary and removes the fleet. Exits
with status 0 only if every check passed.
"""

import collections
import os
import signal
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "test", "support"))

from fleet import plan  # noqa: E402  (needs the path above)
from fleet.console import Console  # noqa: E402
from fleet.fleet import Fleet, remove_recorded  # noqa: E402
from fleet.mesh import vip_label  # noqa: E402
from fleet.policies import cilium_policy, peers, policy_file  # noqa: E402
from fleet.shell import CommandError, wait_until  # noqa: E402
from fleet.traffic import NAME, SteadyRequests, curl, curl_many, failover, ping, resolves  # noqa: E402

RECORD = "/run/isthmus-quickstart.json"
REQUESTS = 60
CLIENTS = (("east", "client"), ("east", "client3"), ("west", "client"), ("north", "client"), ("south", "client"))


def count(number, what):
    return f"{number} {what}{'' if number == 1 else 's'}"


def all_backends():
    return [pod for cluster in plan.CLUSTERS for pod in cluster.pods() if pod.backend]


def addresses(without=""):
    return [address for pod in all_backends() if pod.full_name != without
            for address in pod.fleet_addresses]


class Tour:
    def __init__(self, fleet, console):
        self.fleet = fleet
        self.console = console
        self.columns = []       # (title, responses by backend)
        self.measurements = []  # (name, value)
        self.vips = []

    def bring_up(self):
        self.console.step("Fleet: four clusters in network namespaces on this machine, two with the same pod addresses")
        started = time.monotonic()
        self.fleet.build()
        for cluster in plan.CLUSTERS:
            pods = ", ".join(pod.name for pod in cluster.pods())
            nodes = count(len(cluster.nodes), "node")
            alias = f", elsewhere {cluster.fleet_cidrs[0]}" if cluster.alias else ""
            self.console.ok(f"cluster {cluster.name:7}  {cluster.pod_cidrs[0]:13}  {nodes:7}  pods {pods}{alias}")
        for location in self.fleet.hub.locations():
            self.console.ok(location)
        self.fleet.start_servers()
        self.fleet.start_resolvers()
        self.fleet.start_gateways()
        self.fleet.wait_peers()
        for name, gateway in self.fleet.gateways.items():
            devices = "; ".join(f"{row['name']}: {row['mode']}" for row in gateway.status()["devices"])
            self.console.ok(f"gateway {name:7}  {gateway.gateway.underlay:13}  {devices}")
        self.console.ok(f"all gateways reach each other (after {time.monotonic() - started:.1f} s)")

    def pod_to_pod(self):
        self.console.step("Pod to pod across clusters, by pod address")
        pairs = (("east", "west"), ("west", "north"), ("north", "east"), ("west", "south"), ("south", "west"))
        rows = []
        for source, destination in pairs:
            target = next(pod for pod in plan.cluster(destination).pods() if pod.backend)
            client = self.fleet.pod(source, "client")
            for address in target.seen_from(source):
                times = ping(client, address, count=3)
                host = f"[{address}]" if ":" in address else address
                status, body = curl(client, f"http://{host}:{plan.cluster(destination).http_port}/")
                reachable = times is not None and status == 0 and body.split()[0] == target.full_name
                rows.append((f"{source}-client", f"{target.full_name} {address}",
                             f"{min(times):.2f} ms" if times else "-", body.strip() or "-"))
                if not reachable:
                    self.console.fail(f"{source}-client cannot reach {target.full_name} at {address}: {body.strip()}")
        self.console.table(("from", "to", "ping", "HTTP response: server, client address"), rows)
        self.console.note("Servers see the client's own address, or, of west and south, whose pods have the same ones, "
                          "its alias: pod-to-pod traffic is not translated otherwise.")

    def global_service(self):
        self.console.step("Global service: one VIP for the backends of all clusters")
        for cluster in plan.CLUSTERS:
            self.fleet.hub.write_service(cluster, exported=False)
        self.vips = self.fleet.allocate()
        self.console.command(f"isthmus allocate shop/web --hub {self.fleet.hub.folder_of('east')} --cluster east "
                             + " ".join(f"--pool {pool}" for pool in plan.VIP_POOLS))
        self.console.note(f"allocated VIPs: {', '.join(self.vips)}")
        if self.fleet.hub.kind == "etcd":
            self.console.note("published to the other clusters as a label of east's Service: "
                              f"isthmus.io/vip={vip_label(self.vips)}")
        self.console.check(not resolves(self.fleet.pod("north", "client")),
                           f"{NAME} does not resolve while the Service is not global")
        self.console.command('kubectl annotate service web service.cilium.io/global="true"   # in every cluster')
        for cluster in plan.CLUSTERS:
            self.fleet.hub.write_service(cluster)
        self.wait_resolves()
        self.console.ok(f"{NAME} resolves to {', '.join(self.vips)} in every cluster")
        self.console.command(f"curl http://{NAME}/   # {REQUESTS} times over IPv4 and over IPv6 from each of "
                             f"{len(CLIENTS)} pods")
        responses = self.send_requests("all clusters")
        missing = [pod.full_name for pod in all_backends() if not responses[pod.full_name]]
        self.console.check(not missing, "every backend of every cluster receives requests",
                           f"none at {', '.join(missing)}")

    def wait_resolves(self):
        for cluster, client in CLIENTS:
            netns = self.fleet.pod(cluster, client)
            wait_until(lambda netns=netns: resolves(netns) == sorted(self.vips), timeout=15,
                       what=f"{NAME} resolves in {cluster}")

    def send_requests(self, title, without=""):
        """Requests by name from every client outside cluster `without`; adds a column to the summary."""
        responses = collections.Counter()
        for cluster, client in CLIENTS:
            if cluster == without:
                continue
            for family in ("-4", "-6"):
                received = curl_many(self.fleet.pod(cluster, client), f"http://{NAME}/", REQUESTS, family)
                if received["-"]:
                    self.console.fail(
                        f"{received['-']} of {REQUESTS} requests from {cluster}-{client} (curl {family}) failed")
                responses += received
        self.columns.append((title, responses))
        self.console.table(("backend", "responses"),
                           [(pod.full_name, responses[pod.full_name]) for pod in all_backends()])
        return responses

    def policy(self):
        self.console.step("Network policy: only west's client may reach east's web servers")
        client = {name: self.fleet.pod(name, "client") for name in ("west", "north")}
        target = next(pod for pod in plan.cluster("east").pods() if pod.backend)
        address = f"http://{target.fleet_addresses[0]}:{plan.cluster('east').http_port}/"

        def allowed(name):
            return curl(client[name], address, timeout=1)[0] == 0
        self.console.check(allowed("west") and allowed("north"),
                           "without a policy, west-client and north-client reach east-web-0")
        text = cilium_policy("web", "web", f"  ingress:\n  - fromEndpoints: {peers('west', 'client')}\n")
        self.fleet.hub.write(policy_file("east", "web"), [text])
        self.console.command("kubectl apply -f web.yaml   # in east")
        for line in text.splitlines():
            self.console.note(line)
        gateways = [self.fleet.gateways[gateway.name] for gateway in plan.cluster("east").gateways]

        def denied():
            return sum(gateway.drops().get("policy_denied", 0) for gateway in gateways)
        wait_until(lambda: not allowed("north"), timeout=30, what="the policy denies north-client")
        before = denied()
        self.console.check(not allowed("north") and denied() > before,
                           f"north-client is denied: {denied()} packets dropped as policy_denied "
                           f"({self.fleet.drop_texts()['policy_denied']})")
        self.console.check(allowed("west"), "west-client is still allowed")
        self.console.command("kubectl delete -f web.yaml   # in east")
        self.fleet.hub.remove(policy_file("east", "web"))
        wait_until(lambda: allowed("north"), timeout=30, what="north-client is allowed again")
        self.console.ok("north-client is allowed again")

    def scale_down(self):
        self.console.step("Scale down: east-web-1 is removed from its EndpointSlice")
        east = plan.cluster("east")
        self.fleet.hub.write_service(east, backends=[pod for pod in east.pods() if pod.backend and pod.name != "web-1"])
        self.fleet.wait_backends("shop/web", addresses(without="east-web-1"))
        responses = self.send_requests("without east-web-1")
        self.console.check(responses["east-web-1"] == 0, "east-web-1 receives no requests; the others take over")
        self.fleet.hub.write_service(east)
        self.fleet.wait_backends("shop/web", addresses())

    def fail_cluster(self):
        self.console.step("Cluster failure: kill -9 of west's only gateway while requests are running")
        traffic = SteadyRequests(self.fleet.pod("east", "client"), self.vips[0], 80,
                                 os.path.join(self.fleet.folder, "log", "steady.log"))
        gateway = self.fleet.gateways["west-1"]
        try:
            wait_until(lambda: len(traffic.rows()) > 50, what="steady traffic")
            event = time.monotonic()
            gateway.kill()
            self.fleet.wait_cluster_unreachable("west")
            # Requests that were sent to west before the failure was detected may still be waiting for their timeout.
            settled = time.monotonic() + 1.5
            wait_until(lambda: traffic.rows()[-1][0] > settled, what="traffic after the failover")
        finally:
            rows = traffic.stop()
        failed, seconds = failover(rows, event)
        after = [row for row in rows if row[0] > event + seconds]
        self.console.check(
            len(after) > 20 and not any(row[2].startswith("west") for row in after),
            f"traffic continues: {len(after)} requests after the failover, all answered by the other clusters")
        self.console.check(
            seconds < 5.0,
            f"failover time: {seconds * 1000:.0f} ms ({failed} of {len(rows)} requests failed, at 50 requests/s)")
        self.measurements.append(("failover time, as seen by the client", f"{seconds * 1000:.0f} ms"))
        self.measurements.append(("requests failed during failover", f"{failed} of {len(rows)}"))
        self.send_requests("without west", without="west")

    def recover_cluster(self):
        self.console.step("Cluster recovery: west's gateway is restarted")
        started = time.monotonic()
        self.fleet.gateways["west-1"].start()
        self.fleet.wait_peers()
        self.console.ok(f"all gateways see it as alive again (after {time.monotonic() - started:.1f} s)")
        responses = self.send_requests("west recovered")
        self.console.check(any(responses[pod.full_name] for pod in all_backends() if pod.cluster == "west"),
                           "west's backends receive requests again")

    def summary(self):
        self.console.step("Summary: HTTP responses by backend, drops, measurements")
        rows = [(pod.cluster, pod.full_name, *(responses[pod.full_name] for _, responses in self.columns))
                for pod in all_backends()]
        rows.append(("", "(failed)", *(responses["-"] for _, responses in self.columns)))
        self.console.table(("cluster", "backend", *(title for title, _ in self.columns)), rows)
        self.console.line()
        texts = self.fleet.drop_texts()
        drops = [(gateway, reason, count, texts.get(reason, ""))
                 for gateway, reasons in self.fleet.drops().items() for reason, count in reasons.items()]
        if drops:
            self.console.table(("gateway", "drop reason", "packets", "meaning"), drops)
        else:
            self.console.note("no gateway dropped any packet")
        self.console.line()
        self.console.table(("measurement", "value"), self.measurements)


def hints(fleet, vips):
    """Commands to try with the fleet that --keep leaves running."""
    prefix = fleet.prefix
    south = plan.cluster("south")
    overlapping = f"{south.pods()[0].fleet_addresses[0]}:{south.http_port}"
    return f"""\
The fleet is running. Try:
  ip netns exec {prefix}east-client curl http://{NAME}/
  ip netns exec {prefix}north-client ping {plan.cluster("west").pods()[0].fleet_addresses[0]}
  ip netns exec {prefix}west-client curl http://{overlapping}/   # west's pods have the same addresses as south's
  {fleet.program} status -s {fleet.folder}/east-1.sock       # or: services, endpoints, connections, flows, drops
  {fleet.program} status --hub -s {fleet.folder}/east-1.sock
{fleet.hub.hint()}
  ip netns exec {prefix}east-client curl http://{vips[0]}/   # by VIP
  packaging/quickstart down                                  # removes the fleet
Logs and configuration files: {fleet.folder}"""


def show(fleet, console):
    tour = Tour(fleet, console)
    for part in (tour.bring_up, tour.pod_to_pod, tour.policy, tour.global_service, tour.scale_down, tour.fail_cluster,
                 tour.recover_cluster, tour.summary):
        part()
    return tour


def main(program, options):
    plan.CLUSTERS = plan.OVERLAPPING
    console = Console()
    if "down" in options:
        console.line("Fleet removed." if remove_recorded(RECORD) else "No fleet is running.")
        return 0
    if os.path.exists(RECORD):
        console.line("A fleet is already running. Remove it with 'packaging/quickstart down'.")
        return 1
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    keep = False
    hub = options[options.index("--hub") + 1] if "--hub" in options else "etcd"
    fleet = Fleet(program, hub=hub)
    try:
        tour = show(fleet, console)
        keep = "--keep" in options
        if keep:
            fleet.hub.beat()
            fleet.record(RECORD)
            console.line()
            console.line(hints(fleet, tour.vips))
    except (CommandError, TimeoutError) as error:
        console.fail(str(error))
        for line in fleet.log_tails():
            console.note(line)
    except KeyboardInterrupt:
        console.fail("interrupted")
    finally:
        if not keep:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not leave half of it behind
            fleet.close()
    console.line()
    if console.failures:
        console.line("Failed checks:\n  " + "\n  ".join(console.failures))
        return 1
    console.title("All checks passed." + ("" if keep else " The fleet has been removed."))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
