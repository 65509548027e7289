"""One gateway of the fleet: its configuration, its process and the state it reports."""

import json
import os

from . import plan
from .shell import CommandError, run, wait_until


class GatewayProcess:
    """An `isthmus run` process in the network namespace of its node; can be killed and restarted."""

    def __init__(self, gateway, netns, program, folder, hub, settings=None):
        self.gateway = gateway
        self.name = gateway.name
        self.netns = netns
        self.program = program
        self.config = os.path.join(folder, f"{gateway.name}.yaml")
        self.socket = os.path.join(folder, f"{gateway.name}.sock")
        self.dns_file = os.path.join(folder, "dns", gateway.name, "global.hosts")
        self.log = os.path.join(folder, f"{gateway.name}.log")
        self.state = os.path.join(folder, "state")
        self.known = os.path.join(self.state, "known")
        self.nice = (settings or {}).get("nice", 0)
        self.daemon = None
        for needed_folder in (os.path.dirname(self.dns_file), self.state):
            os.makedirs(needed_folder, exist_ok=True)
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(self._config_text(hub, settings or {}))

    def _config_text(self, hub, settings):
        underlay, local = settings.get("interfaces", {}).get(self.name, ("eth0", None))
        dpdk = f", dpdk: \"{settings['dpdk'][self.name]}\"" if self.name in settings.get("dpdk", {}) else ""
        local = (f"interface: {local or underlay}" if local or self.gateway.one_device else
                 "interface: isthmus0, veth: true")
        forwarding = f", kernel_forwarding: {settings['kernel_forwarding']}" if "kernel_forwarding" in settings else ""
        if self.name in settings.get("delivery", {}):
            local += f", delivery: {settings['delivery'][self.name]}"
        if "local_mtu" in settings and not self.gateway.one_device:
            local += f", mtu: {settings['local_mtu']}"
        number = settings.get("workers_of", {}).get(self.name, settings.get("workers", 1))
        workers = f"cores: {settings['cores']}" if "cores" in settings else f"workers: {number}"
        if "local_kernel_forwarding" in settings and not self.gateway.one_device:
            local += f", kernel_forwarding: {settings['local_kernel_forwarding']}"
        hub_text, cluster_id = hub.hub_config(self.gateway.cluster)
        if "hub_wait" in settings:
            hub_text = f"{hub_text[:-1]}, wait: {settings['hub_wait']}}}"
        cluster_id_text = f", cluster_id: {cluster_id}" if cluster_id else ""
        hold = settings.get("unknown_endpoint_hold", "10s")
        known_age = settings.get("last_known_age", "24h")
        health = f"health: {settings['health']}\n" if "health" in settings else ""
        handover = f"handover: {settings['handover']}\n" if "handover" in settings else ""
        services = f"services: {settings['services']}\n" if "services" in settings else ""
        policy = f"policy: {settings['policy']}\n" if "policy" in settings else ""
        return f"""\
gateway: {{name: {self.name}, cluster: {self.gateway.cluster}{cluster_id_text}}}
engine:
  {workers}
  idle: {settings.get("idle", "sleep")}
  connections: {settings.get("connections", 65536)}
  half_open_limit: {settings.get("half_open_limit", 32768)}
  unknown_endpoint_hold: {hold}
  kernel_flow_hold: {settings.get("kernel_flow_hold", "1m")}
devices:
  underlay: {{interface: {underlay}{dpdk or forwarding}}}
  local: {{{local}{forwarding}}}
translation: {{ipv4: {self.gateway.translation_ipv4}, ipv6: "{self.gateway.translation_ipv6}", ports: 32768-65535}}
hub: {hub_text}
admission: {{vip_pools: [{", ".join(f'"{pool}"' for pool in plan.VIP_POOLS)}]{self._aliases(hub)}}}
{health}{policy}{handover}{services}dns: {{file: {self.dns_file}, domain: {plan.DOMAIN}}}
admin: {{socket: {self.socket}, group: root}}
state: {{directory: {self.state}, last_known_directory: {self.known}, last_known_age: {known_age}}}
log: {{level: info}}
"""

    @staticmethod
    def _aliases(hub):
        """Where no hub has the profile of the fleet: in a ClusterMesh."""
        aliased = [cluster for cluster in plan.CLUSTERS if cluster.alias and hub.kind == "etcd"]

        def section(blocks):
            return ", ".join(f"{cluster.name}: [{', '.join(json.dumps(block) for block in blocks(cluster))}]"
                             for cluster in aliased)
        return (f", pods: {{{section(lambda cluster: cluster.pod_cidrs)}}}, "
                f"aliases: {{{section(lambda cluster: cluster.fleet_cidrs)}}}" if aliased else "")

    def start(self, wait=True):
        command = ["nice", "-n", str(self.nice), self.program, "run", "-c", self.config]
        self.daemon = self.netns.start(self.name, command, self.log,
                                       env=dict(os.environ, **self._sanitizer_options()))
        if wait:
            self.wait_ready()

    def _sanitizer_options(self):
        return {"ASAN_OPTIONS": "exitcode=99:detect_leaks=1", "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
                "TSAN_OPTIONS": "exitcode=99:second_deadlock_stack=1"}

    def wait_ready(self, timeout=30.0):
        """Waits until it answers on its admin socket, is in step with its hub, and has made its first tables."""
        def ready():
            if not self.daemon.alive:
                raise CommandError(f"{self.name} exited with {self.daemon.popen.returncode}:\n"
                                   f"{self.daemon.log_tail()}")
            status = self.query("status", check=False)
            return (status is not None and status["hub"]["synced"] and
                    status["state"] != "making its first tables")
        try:
            wait_until(ready, timeout, what=f"gateway {self.name} is ready")
        except TimeoutError as error:
            raise CommandError(f"{error}\n{self.daemon.log_tail()}") from error

    @property
    def alive(self):
        return self.daemon is not None and self.daemon.alive

    def kill(self):
        """kill -9: nothing is cleaned up, as after a crash."""
        self.daemon.kill()

    def stop(self):
        """Stops it with SIGTERM and returns its exit status."""
        self.daemon.stop(timeout=20)
        return self.daemon.popen.returncode

    def query(self, command, *options, check=True):
        """The JSON output of a subcommand; None if it fails and `check` is False."""
        done = run([self.program, command, "-o", "json", "--socket", self.socket, *options], check=check)
        return json.loads(done.stdout) if done.returncode == 0 else None

    def status(self):
        return self.query("status")

    def hub_part(self, name):
        """The status row of one part of its hubs, e.g. a cluster's etcd; None if there is none."""
        return next((part for part in self.status()["hub"]["parts"] if part["name"] == name), None)

    def wait_hub(self, name, state, timeout=60.0):
        """Waits until that part is in state `state` ("in sync", "stale", ...)."""
        wait_until(lambda: (self.hub_part(name) or {}).get("state") == state, timeout,
                   what=f"hub part {name} of {self.name} is {state}")

    def live_peers(self):
        """Names of the peer gateways that it sees as alive."""
        return {row["name"] for row in self.status()["peers"] if row["gateway"] and row["health"] == "alive"}

    def usable_backends(self, service):
        """Addresses that receive new connections, over all frontends of the service."""
        rows = self.query("services", "--service", service)["frontends"]
        return {backend["address"] for row in rows for backend in row["backends"] if backend["slots"]}

    def wait_endpoints(self, addresses):
        """Waits until it has the endpoints at these addresses."""
        wait_until(lambda: set(addresses) <= {row["address"] for row in self.query("endpoints")["endpoints"]},
                   what=f"{self.name} has {len(addresses)} endpoints")

    def drop_rows(self):
        return self.query("drops")["reasons"]

    def drops(self):
        """Packets dropped since start, by reason; reasons with a count of zero are left out."""
        return {row["name"]: row["packets"] for row in self.drop_rows() if row["packets"]}
