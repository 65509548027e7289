"""The tour that packaging/quickstart gives: `quickstart_tour.py PROGRAM [--keep] [--hub file|etcd] | down`.

Brings up the fleet, does the main job in front of the user with curl and ping, prints a table of what was done and
seen, and takes everything down. Exit status 0 only if everything worked.
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
CLIENTS = (("east", "client"), ("east", "client3"), ("west", "client"), ("north", "client"))


def count(number, what):
    return f"{number} {what}{'' if number == 1 else 's'}"


def all_backends():
    return [pod for cluster in plan.CLUSTERS for pod in cluster.pods() if pod.backend]


def addresses(without=""):
    return [address for pod in all_backends() if pod.full_name != without for address in (pod.ipv4, pod.ipv6)]


class Tour:
    def __init__(self, fleet, console):
        self.fleet = fleet
        self.console = console
        self.columns = []  # (title, answers per backend)
        self.facts = []    # (what, seen)
        self.vips = []

    def bring_up(self):
        self.console.step("A fleet of three clusters, in network namespaces of this machine")
        begun = time.monotonic()
        self.fleet.build()
        for cluster in plan.CLUSTERS:
            pods = ", ".join(pod.name for pod in cluster.pods())
            nodes = count(len(cluster.nodes), "node")
            self.console.ok(f"{cluster.name:5}  {cluster.pod_cidrs[0]:12}  {nodes}; pods {pods}")
        for place in self.fleet.hub.places():
            self.console.ok(place)
        self.fleet.start_servers()
        self.fleet.start_resolvers()
        self.fleet.start_gateways()
        self.fleet.wait_peers()
        for name, gateway in self.fleet.gateways.items():
            devices = "; ".join(f"{row['name']}: {row['mode']}" for row in gateway.status()["devices"])
            self.console.ok(f"gateway {name:7}  {gateway.gateway.underlay:13}  {devices}")
        self.console.ok(f"every gateway hears every other one ({time.monotonic() - begun:.1f} s)")

    def pod_to_pod(self):
        self.console.step("Pod to pod, from cluster to cluster, by the pods' own addresses")
        pairs = (("east", "west"), ("west", "north"), ("north", "east"))
        rows = []
        for here, there in pairs:
            target = next(pod for pod in plan.cluster(there).pods() if pod.backend)
            client = self.fleet.pod(here, "client")
            for address in (target.ipv4, target.ipv6):
                times = ping(client, address, count=3)
                host = f"[{address}]" if ":" in address else address
                status, body = curl(client, f"http://{host}:{plan.cluster(there).http_port}/")
                good = times is not None and status == 0 and body.split()[0] == target.full_name
                rows.append((f"{here} client", f"{target.full_name} {address}",
                             f"{min(times):.2f} ms" if times else "-", body.strip() or "-"))
                if not good:
                    self.console.problem(f"{here} client cannot reach {target.full_name} at {address}: {body.strip()}")
        self.console.table(("from", "to", "ping", "curl: who answers, whom it saw"), rows)
        self.console.note("The servers see the client's own address: nothing is translated between pods.")

    def global_service(self):
        self.console.step("A Service becomes global")
        for cluster in plan.CLUSTERS:
            self.fleet.hub.write_service(cluster, exported=False)
        self.vips = self.fleet.allocate()
        self.console.command(f"isthmus allocate shop/web --hub {self.fleet.hub.folder_of('east')} --cluster east "
                             + " ".join(f"--pool {pool}" for pool in plan.VIP_POOLS))
        self.console.note(f"its addresses: {', '.join(self.vips)}")
        if self.fleet.hub.kind == "etcd":
            self.console.note("the other clusters learn them by a label of east's Service: isthmus.io/vip="
                              f"{vip_label(self.vips)}")
        self.console.check(not resolves(self.fleet.pod("north", "client")),
                           f"without the annotation nobody knows {NAME}")
        self.console.command('kubectl annotate service web service.cilium.io/global="true"   (in all three clusters)')
        for cluster in plan.CLUSTERS:
            self.fleet.hub.write_service(cluster)
        self.wait_resolves()
        self.console.ok(f"{NAME} is {', '.join(self.vips)} in every cluster")
        self.console.command(f"curl http://{NAME}/     ({REQUESTS} times from each of {len(CLIENTS)} pods and family)")
        answers = self.balanced("global")
        missing = [pod.full_name for pod in all_backends() if not answers[pod.full_name]]
        self.console.check(not missing, "backends of all clusters answer", f"not these: {', '.join(missing)}")

    def wait_resolves(self):
        for cluster, client in CLIENTS:
            space = self.fleet.pod(cluster, client)
            wait_until(lambda space=space: resolves(space) == sorted(self.vips), timeout=15,
                       what=f"{NAME} known in {cluster}")

    def balanced(self, title, without=""):
        """Asks by name from every client but those of a lost cluster; a column of the table. Failures are problems."""
        answers = collections.Counter()
        for cluster, client in CLIENTS:
            if cluster == without:
                continue
            for family in ("-4", "-6"):
                seen = curl_many(self.fleet.pod(cluster, client), f"http://{NAME}/", REQUESTS, family)
                if seen["-"]:
                    self.console.problem(
                        f"{seen['-']} of {REQUESTS} requests from {cluster} {client} ({family}) failed")
                answers += seen
        self.columns.append((title, answers))
        self.console.table(("backend", "answers"), [(pod.full_name, answers[pod.full_name]) for pod in all_backends()])
        return answers

    def policy(self):
        self.console.step("A policy: east's web servers are for west's clients")
        client = {name: self.fleet.pod(name, "client") for name in ("west", "north")}
        target = next(pod for pod in plan.cluster("east").pods() if pod.backend)
        address = f"http://{target.ipv4}:{plan.cluster('east').http_port}/"

        def answered(name):
            return curl(client[name], address, timeout=1)[0] == 0
        self.console.check(answered("west") and answered("north"), "without a policy both reach east-web-0")
        text = cilium_policy("web", "web", f"  ingress:\n  - fromEndpoints: {peers('west', 'client')}\n")
        self.fleet.hub.write(policy_file("east", "web"), [text])
        self.console.command("kubectl apply -f web.yaml   (in east)")
        for line in text.splitlines():
            self.console.note(line)
        gateways = [self.fleet.gateways[gateway.name] for gateway in plan.cluster("east").gateways]

        def denied():
            return sum(gateway.drops().get("policy_denied", 0) for gateway in gateways)
        wait_until(lambda: not answered("north"), timeout=30, what="the policy stops north's client")
        before = denied()
        self.console.check(not answered("north") and denied() > before,
                           "north's client is denied, and each of its packets counted: "
                           f"policy_denied {denied()}: {self.fleet.drop_texts()['policy_denied']}")
        self.console.check(answered("west"), "west's client, another identity, is answered as before")
        self.fleet.hub.remove(policy_file("east", "web"))
        wait_until(lambda: answered("north"), timeout=30, what="the policy is gone")
        self.console.ok("the policy is taken away: north's client is answered again")

    def scale_away(self):
        self.console.step("A backend is scaled away: east-web-1 leaves its EndpointSlice")
        east = plan.cluster("east")
        self.fleet.hub.write_service(east, backends=[pod for pod in east.pods() if pod.backend and pod.name != "web-1"])
        self.fleet.wait_backends("shop/web", addresses(without="east-web-1"))
        answers = self.balanced("without east-web-1")
        self.console.check(answers["east-web-1"] == 0, "east-web-1 gets nothing, the others share its part")
        self.fleet.hub.write_service(east)
        self.fleet.wait_backends("shop/web", addresses())

    def lose_cluster(self):
        self.console.step("A whole cluster is lost: west's gateway is killed (kill -9), traffic going on")
        traffic = SteadyRequests(self.fleet.pod("east", "client"), self.vips[0], 80,
                                 os.path.join(self.fleet.folder, "log", "steady.log"))
        gateway = self.fleet.gateways["west-1"]
        try:
            wait_until(lambda: len(traffic.rows()) > 50, what="steady traffic")
            event = time.monotonic()
            gateway.kill()
            self.fleet.wait_cluster_silent("west")
            # Requests that began while west was still chosen may take their full time to fail.
            settled = time.monotonic() + 1.5
            wait_until(lambda: traffic.rows()[-1][0] > settled, what="traffic after the loss")
        finally:
            rows = traffic.stop()
        failed, seconds = failover(rows, event)
        later = [row for row in rows if row[0] > event + seconds]
        self.console.check(
            len(later) > 20 and not any(row[2].startswith("west") for row in later),
            f"traffic goes on: {len(later)} requests after the fail-over, all answered by east and north")
        self.console.check(
            seconds < 5.0,
            f"time to fail over: {seconds * 1000:.0f} ms ({failed} of {len(rows)} requests failed, 50 a second)")
        self.facts.append(("time to fail over from west, as a client saw it", f"{seconds * 1000:.0f} ms"))
        self.facts.append(("requests that failed meanwhile", f"{failed} of {len(rows)}"))
        self.balanced("without west", without="west")

    def return_cluster(self):
        self.console.step("West comes back")
        begun = time.monotonic()
        self.fleet.gateways["west-1"].start()
        self.fleet.wait_peers()
        self.console.ok(f"its gateway is chosen again after {time.monotonic() - begun:.1f} s")
        answers = self.balanced("west is back")
        self.console.check(any(answers[pod.full_name] for pod in all_backends() if pod.cluster == "west"),
                           "west's backends answer again")

    def summary(self):
        self.console.step("What was done and seen")
        rows = [(pod.cluster, pod.full_name, *(answers[pod.full_name] for _, answers in self.columns))
                for pod in all_backends()]
        rows.append(("", "no answer", *(answers["-"] for _, answers in self.columns)))
        self.console.table(("cluster", "backend", *(title for title, _ in self.columns)), rows)
        self.console.line()
        texts = self.fleet.drop_texts()
        drops = [(gateway, reason, count, texts.get(reason, ""))
                 for gateway, reasons in self.fleet.drops().items() for reason, count in reasons.items()]
        if drops:
            self.console.table(("gateway", "drop reason", "packets", "meaning"), drops)
        else:
            self.console.note("no gateway dropped a packet")
        self.console.line()
        self.console.table(("measured", ""), self.facts)


def hints(fleet, vips):
    """What to try with a fleet that is left up."""
    prefix = fleet.prefix
    return f"""\
The fleet is up. To try:
  ip netns exec {prefix}east-client curl http://{NAME}/
  ip netns exec {prefix}north-client ping {plan.cluster("west").pods()[0].ipv4}
  {fleet.program} status -s {fleet.folder}/east-1.sock       (also: services, endpoints, connections, flows, drops)
  {fleet.program} status --hub -s {fleet.folder}/east-1.sock
{fleet.hub.hint()}
  ip netns exec {prefix}east-client curl http://{vips[0]}/   the same by address
  packaging/quickstart down                                  removes everything
Logs and configurations: {fleet.folder}"""


def show(fleet, console):
    tour = Tour(fleet, console)
    for part in (tour.bring_up, tour.pod_to_pod, tour.policy, tour.global_service, tour.scale_away, tour.lose_cluster,
                 tour.return_cluster, tour.summary):
        part()
    return tour


def main(program, options):
    console = Console()
    if "down" in options:
        console.line("The fleet is removed." if remove_recorded(RECORD) else "No fleet is up.")
        return 0
    if os.path.exists(RECORD):
        console.line("A fleet is up already. 'packaging/quickstart down' removes it.")
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    keep = False
    hub = options[options.index("--hub") + 1] if "--hub" in options else "etcd"
    fleet = Fleet(program, hub=hub)
    try:
        tour = show(fleet, console)
        keep = "--keep" in options
        if keep:
            fleet.record(RECORD)
            console.line()
            console.line(hints(fleet, tour.vips))
    except (CommandError, TimeoutError) as error:
        console.problem(str(error))
        for line in fleet.log_tails():
            console.note(line)
    except KeyboardInterrupt:
        console.problem("interrupted")
    finally:
        if not keep:
            fleet.close()
    console.line()
    if console.problems:
        console.line("Something did not work:\n  " + "\n  ".join(console.problems))
        return 1
    console.title("Everything worked." + ("" if keep else " Nothing is left behind."))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
