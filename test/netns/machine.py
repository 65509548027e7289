"""A machine of its own for a test: a network namespace with interfaces that lead to a peer outside."""

import os
import shutil
import tempfile

from fleet_case import PREFIX
from fleet.netns import NODE_SYSCTLS, Namespace
from fleet.shell import run

OBJECTS = """\
apiVersion: isthmus.io/v1alpha1
kind: Cluster
metadata: {{name: east}}
spec: {{id: 1, podCIDRs: [10.1.0.0/16]}}
---
apiVersion: isthmus.io/v1alpha1
kind: Gateway
metadata: {{name: {name}}}
spec: {{cluster: east, underlayAddress: "{address}"}}
"""


class Machine:
    """With a folder for its configuration, and for a hub that has the own objects of a gateway of cluster east."""

    def __init__(self):
        self.netns = Namespace(PREFIX + "machine", NODE_SYSCTLS)
        self.outside = Namespace(PREFIX + "outside", NODE_SYSCTLS)
        self.folder = tempfile.mkdtemp(prefix="isthmus-machine-")
        self.hub = os.path.join(self.folder, "hub")
        self.config = os.path.join(self.folder, "gateway.yaml")

    def close(self):
        self.netns.remove()
        self.outside.remove()
        shutil.rmtree(self.folder)

    def add(self, name, address, mtu=1500, queues=1):
        """An interface; its peer outside has the same name."""
        sizes = f"numrxqueues {queues} numtxqueues {queues}".split()
        run(["ip", "link", "add", name, "netns", self.netns.name, "mtu", str(mtu), *sizes, "type", "veth",
             "peer", "name", name, "netns", self.outside.name, "mtu", str(mtu), *sizes])
        if queues > 1:
            self.netns.run(["ethtool", "-L", name, "rx", str(queues), "tx", str(queues)])
        self.outside.ip(f"link set {name} up")
        self.netns.ip(f"link set {name} up", f"addr add {address} dev {name}" + (" nodad" if ":" in address else ""))

    def write_hub(self, name, address):
        os.makedirs(os.path.join(self.hub, "fleet"), exist_ok=True)
        with open(os.path.join(self.hub, "fleet", "own.yaml"), "w", encoding="ascii") as file:
            file.write(OBJECTS.format(name=name, address=address))
