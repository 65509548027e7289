"""Cluster south behind Open vSwitch in user space (netdev datapath), whose Geneve shares no code with the gateway.

Two bridges, as the manual of its tunnels asks: `phy0` owns the node's underlay port and addresses, and carries what
the tunnel port of `tun0` sends; the pods' packets reach `tun0` through its device of that name.
"""

import os

from fleet import plan
from fleet.shell import run, wait_until
from kernel_peer import SOUTH, KernelPeer, inner_mac

UNDERLAY, DEVICE = "phy0", "tun0"
DAEMON = "/usr/lib/openvswitch-switch/ovs-vswitchd"


class OpenVswitchPeer(KernelPeer):
    """As KernelPeer, with Open vSwitch's tunnel port in place of the kernel's device."""

    def add_device(self):
        self.run_folder = os.path.join(self.fleet.folder, "ovs")
        os.makedirs(self.run_folder, exist_ok=True)
        self.database = f"unix:{self.run_folder}/db.sock"
        self.start_switch()
        node = SOUTH.node(SOUTH.gateways[0].node)
        # What reaches the port is the switch's: without the filter the kernel would answer it too.
        self.node.run(["nft", "add table netdev ovs; add chain netdev ovs in "
                              "{ type filter hook ingress device eth0 priority 0; policy drop; }"])
        self.node.ip("addr flush dev eth0")
        self.configure("add-br", UNDERLAY, "--", "set", "bridge", UNDERLAY, "datapath_type=netdev",
                       "--", "add-port", UNDERLAY, "eth0",
                       "--", "add-br", DEVICE, "--", "set", "bridge", DEVICE, "datapath_type=netdev",
                       "fail_mode=secure", f'other_config:hwaddr="{inner_mac(self.address)}"', "--",
                       "add-port", DEVICE, "gnv0", "--", "set", "interface", "gnv0", "type=geneve",
                       "ofport_request=1", "options:remote_ip=flow", "options:key=flow", "options:csum=true")
        self.node.ip(f"addr add {SOUTH.node_ipv4(node)}/24 dev {UNDERLAY}",
                     f"addr add {SOUTH.node_ipv6(node)}/64 dev {UNDERLAY} nodad",
                     f"link set {UNDERLAY} up",
                     f"link set {DEVICE} mtu {self.mtu} arp off",
                     f"link set {DEVICE} up",
                     f"route add default via {SOUTH.site_ipv4}.1",
                     f"route replace ::/0 via fd00:ee:{SOUTH.id}::1 dev {UNDERLAY}")
        flows = "\n".join(self.flows())
        run(self.node.enter(["ovs-ofctl", "-O", "OpenFlow13", "add-flows", f"unix:{self.run_folder}/{DEVICE}.mgmt",
                             "-"]), stdin=flows + "\n", env=self.environment())

    def environment(self):
        return {**os.environ, "OVS_RUNDIR": self.run_folder, "OVS_LOGDIR": self.run_folder,
                "OVS_DBDIR": self.run_folder, "OVS_SYSCONFDIR": self.run_folder}

    def start_switch(self):
        file = f"{self.run_folder}/conf.db"
        run(["ovsdb-tool", "create", file, "/usr/share/openvswitch/vswitch.ovsschema"], env=self.environment())
        for name, command in (("ovsdb", ["ovsdb-server", file, f"--remote=p{self.database}", "--no-chdir"]),
                              ("vswitchd", [DAEMON, self.database, "--no-chdir"])):
            self.fleet.daemons.append(self.node.start(f"{name}-south", command, f"{self.fleet.folder}/log/{name}.log",
                                                      env=self.environment()))
            if name == "ovsdb":
                wait_until(lambda: os.path.exists(f"{self.run_folder}/db.sock"), what="the switch's database answers")
                self.configure("--no-wait", "init")

    def configure(self, *words):
        run(self.node.enter(["ovs-vsctl", f"--db={self.database}", "--timeout=20", *words]), env=self.environment())

    def flows(self):
        """OpenFlow: the sender's identity and the remote gateway by addresses; whatever arrives is the kernel's."""
        port = "tun_dst" if self.underlay == 4 else "tun_ipv6_dst"
        for pod in SOUTH.pods():
            for name in ("east", "north"):
                for prefix in plan.cluster(name).pod_cidrs:
                    family, source, fields = (("ipv6", pod.ipv6, ("ipv6_src", "ipv6_dst")) if ":" in prefix else
                                              ("ip", pod.ipv4, ("nw_src", "nw_dst")))
                    yield (f"in_port=LOCAL,{family},{fields[0]}={source},{fields[1]}={prefix},actions="
                           f"set_field:{pod.identity}->tun_id,set_field:{self.remote(plan.cluster(name))}->{port},"
                           f"output:1")
        yield f"in_port=1,actions=set_field:{inner_mac(self.address)}->eth_dst,output:LOCAL"

    def route(self, pod, cluster):
        return f"dev {DEVICE}"
