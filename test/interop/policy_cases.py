"""Random fleets, policies and packets for the comparison of policy decisions with other programs."""

import json

NAMESPACE = "io.kubernetes.pod.namespace"
CLUSTER = "io.cilium.k8s.policy.cluster"
METADATA = "io.cilium.k8s.namespace.labels."
NAMESPACES = {"shop": {"env": "prod", "kubernetes.io/metadata.name": "shop"},
              "bank": {"env": "test", "kubernetes.io/metadata.name": "bank"}}
TCP, UDP, ICMP = 6, 17, 1
ECHO_REQUEST = 8
ENTITIES = ("all", "world", "host", "remote-node", "cluster", "none", "health", "init", "unmanaged", "kube-apiserver")
KEYS = {"app": ("a", "b", "c"), "tier": ("x", "z")}


class Fleet:
    """Pods, nodes and addresses of east (ours, 1) and west (2). Two pods have one identity, each its own ports."""

    def __init__(self, random):
        self.random = random
        self.identities = 0  # that came after the first
        self.parties = []
        for number, cluster in ((1, "east"), (2, "west")):
            for i in range(10 if cluster == "east" else 8):
                labels = self.parties[-1]["labels"] if i % 2 else self.labels(cluster)
                self.parties.append({
                    "name": f"pod-{i}", "kind": "pod", "cluster": cluster, "address": f"10.{number}.1.{i + 1}",
                    "identity": number << 16 | 0x100 + i // 2, "labels": labels, "local": False, **self.ports()})
            self.parties.append({"name": f"node-{cluster}", "kind": "node", "cluster": cluster, "labels": {},
                                 "address": f"192.0.{number}.9", "identity": 1 if number == 1 else 6, "tcp": {},
                                 "udp": {}})
        for i in (12, 13, 14, 15):
            self.parties.append({"name": f"address-{i}", "kind": "address", "cluster": "west", "labels": {},
                                 "address": f"10.2.77.{i}", "identity": 2, "tcp": {}, "udp": {}})

    def labels(self, cluster):
        random, namespace = self.random, self.random.choice(sorted(NAMESPACES))
        out = {NAMESPACE: namespace, CLUSTER: cluster, "app": random.choice(KEYS["app"])}
        out |= {METADATA + key: value for key, value in NAMESPACES[namespace].items()}
        return out | ({"tier": random.choice(KEYS["tier"])} if random.random() < 0.5 else {})

    def ports(self):
        random = self.random
        return {"tcp": {"http": random.choice((8080, 8081))} if random.random() < 0.8 else {},
                "udp": {random.choice(("dns", "http")): 53} if random.random() < 0.5 else {}}

    def change(self):
        """What may come of changes in a cluster: labels, named ports, a pod of another identity or of none. Returns the
        positions of the parties that have changed."""
        before = [dict(who) for who in self.parties]
        for _ in range(self.random.randint(1, 3)):
            self.random.choice((self.relabel, self.relabel, self.move, self.name_ports, self.publish))()
        return [at for at, who in enumerate(self.parties) if who != before[at]]

    def pod(self, cluster=None):
        return self.random.choice([each for each in self.parties
                                   if each["kind"] == "pod" and cluster in (None, each["cluster"])])

    def name_ports(self):
        self.pod().update(self.ports())

    def labels_in(self, who):
        """Other labels for the pod: it keeps its namespace."""
        labels = self.labels(who["cluster"])
        return ({key: labels[key] for key in labels if key in KEYS}
                | {key: who["labels"][key] for key in who["labels"] if key not in KEYS})

    def relabel(self):
        """An identity has other labels: all of its pods."""
        who = self.pod()
        labels = self.labels_in(who)
        for each in self.parties:
            if each["kind"] == "pod" and each["identity"] == who["identity"]:
                each["labels"] = labels

    def move(self):
        """A pod's labels change, and with them its identity: to one that its cluster has, or to a new one."""
        who = self.pod()
        others = [each for each in self.parties if each["kind"] == "pod" and each["cluster"] == who["cluster"]
                  and each["labels"][NAMESPACE] == who["labels"][NAMESPACE] and each["identity"] != who["identity"]]
        if others and self.random.random() < 0.5:
            other = self.random.choice(others)
            who.update(identity=other["identity"], labels=other["labels"])
        else:
            self.identities += 1
            cluster = who["identity"] >> 16
            who.update(identity=cluster << 16 | 0x200 + self.identities, labels=self.labels_in(who))

    def publish(self):
        """A pod of ours has no CiliumEndpoint any longer, and is known by the labels of Pod and Namespace; or again."""
        who = self.pod("east")
        who["local"] = not who["local"]


def pod_manifests(who):
    meta = {"name": who["name"], "namespace": who["labels"][NAMESPACE]}
    labels = {key: value for key, value in who["labels"].items() if key in KEYS}
    ports = [{"name": name, "containerPort": number, "protocol": protocol.upper()}
             for protocol in ("tcp", "udp") for name, number in who[protocol].items()]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": meta | {"labels": labels},
           "spec": {"containers": [{"ports": ports}]}, "status": {"podIP": who["address"]}}
    if who["local"]:
        return [pod]
    return [pod, {"apiVersion": "cilium.io/v2", "kind": "CiliumEndpoint", "metadata": meta,
                  "status": {"identity": {"id": who["identity"]},
                             "networking": {"addressing": [{"ipv4": who["address"]}]}}}]


def fleet_manifest(parties, cluster):
    """What a cluster publishes."""
    objects = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
               for name, labels in NAMESPACES.items()]
    identities = {}
    for who in parties:
        if who["cluster"] != cluster:
            continue
        if who["kind"] == "node":
            objects.append({"apiVersion": "v1", "kind": "Node", "metadata": {"name": who["name"]},
                            "status": {"addresses": [{"type": "InternalIP", "address": who["address"]}]}})
        elif who["kind"] == "pod":
            objects += pod_manifests(who)
            if not who["local"]:
                identities[who["identity"]] = who["labels"]
        else:
            objects.append({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": who["name"], "namespace": "vm"},
                            "spec": {}, "status": {"podIP": who["address"]}})
    objects += [{"apiVersion": "cilium.io/v2", "kind": "CiliumIdentity", "metadata": {"name": str(number)},
                 "security-labels": {f"k8s:{key}": value for key, value in labels.items()}}
                for number, labels in identities.items()]
    return manifest(objects)


def manifest(objects):
    return "".join(json.dumps(each) + "\n---\n" for each in objects)


class Policies:
    """Policies named after `number`, so that no name comes twice."""

    def __init__(self, random, number, kinds, can_judge):
        self.random, self.number, self.kinds, self.can_judge = random, number, kinds, can_judge
        self.groups = [self.group(name) for name in ("near", "far")]
        self.policies, self.made = [], 0
        for _ in range(random.randint(1, 6)):
            self.add()

    def add(self):
        self.made += 1
        policy = self.policy(f"p{self.number}-{self.made}", self.random.choice(self.kinds))
        if self.can_judge(policy):
            self.policies.append(policy)

    def change(self):
        """One policy comes, goes or becomes another one, or a group does. Returns the changed parties: none."""
        form = self.random.randrange(5)
        if form == 0:
            at = self.random.randrange(2)
            self.groups[at] = self.group(self.groups[at]["metadata"]["name"])
        elif form == 1 or not self.policies:
            self.add()
        elif form == 2:
            self.policies.remove(self.random.choice(self.policies))
        else:
            at = self.random.randrange(len(self.policies))
            before = self.policies[at]
            policy = self.policy(before["metadata"]["name"], before["kind"]) | {"metadata": before["metadata"]}
            if self.can_judge(policy):
                self.policies[at] = policy
        return []

    def chance(self, one_in):
        return self.random.randrange(one_in) == 0

    def group(self, name):
        return {"apiVersion": "cilium.io/v2", "kind": "CiliumCIDRGroup",
                "metadata": {"name": name, "labels": {"zone": self.random.choice(("x", "z"))}},
                "spec": {"externalCIDRs": [self.cidr() for _ in range(self.random.randint(1, 2))]}}

    def cidr(self, lengths=(8, 16, 24, 30, 31, 32)):
        length = self.random.choice(lengths)
        base = self.random.choice((0x0A024D0C, 0x0A024D0D, 0x0A024D0E, 0x0A024D0F, 0x0A010101, 0x0A020101))
        base = base >> (32 - length) << (32 - length) if length else 0
        return ".".join(str(base >> shift & 255) for shift in (24, 16, 8, 0)) + f"/{length}"

    def block(self, key="cidr"):
        out = {key: self.cidr((0, 8, 16, 24, 30, 32))}
        length = int(out[key].split("/")[1])
        inside = [each for each in (self.cidr((24, 30, 31, 32)) for _ in range(4))
                  if int(each.split("/")[1]) > length and in_block(each, out[key])]
        return out | ({"except": inside[:1]} if inside and self.chance(2) else {})

    def selector(self, scope):
        """A label selector; `scope`: by namespace and cluster too."""
        random, labels, expressions = self.random, {}, []
        keys = {key: KEYS[key] for key in KEYS if random.random() < 0.6}
        if scope and self.chance(3):
            keys[NAMESPACE] = tuple(sorted(NAMESPACES))
        if scope and self.chance(2):
            keys[CLUSTER] = ("east", "west")
        if scope and self.chance(4):
            keys[METADATA + "env"] = ("prod", "test")
        for key, values in keys.items():
            operator = random.choice(("label", "label", "label", "In", "NotIn", "Exists", "DoesNotExist"))
            if operator == "label":
                labels[key] = random.choice(values)
            else:
                listed = random.sample(values, random.randint(1, 2)) if operator in ("In", "NotIn") else None
                expressions.append({"key": key, "operator": operator, **({"values": listed} if listed else {})})
        return {**({"matchLabels": labels} if labels else {}),
                **({"matchExpressions": expressions} if expressions else {})}

    def policy(self, name, kind):
        if kind == "NetworkPolicy":
            return self.network_policy(name)
        meta = {"name": name}
        if kind == "CiliumNetworkPolicy":
            meta["namespace"] = self.random.choice(sorted(NAMESPACES))
        out = {"apiVersion": "cilium.io/v2", "kind": kind, "metadata": meta}
        if self.chance(6):
            return out | {"specs": [self.spec(kind), self.spec(kind)]}
        return out | {"spec": self.spec(kind)}

    def network_policy(self, name):
        types = self.random.choice((["Ingress"], ["Egress"], ["Ingress", "Egress"], None))
        spec = {"podSelector": {} if self.chance(3) else self.selector(False)}
        for side, peers in (("ingress", "from"), ("egress", "to")):
            if (types is None or side.title() in types) and not self.chance(5):
                spec[side] = [self.network_rule(peers) for _ in range(self.random.randint(0, 3))]
        return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
                "metadata": {"name": name, "namespace": self.random.choice(sorted(NAMESPACES))},
                "spec": spec | ({"policyTypes": types} if types else {})}

    def network_rule(self, peers):
        out = {}
        if not self.chance(4):
            out[peers] = [self.network_peer() for _ in range(self.random.randint(0, 2))]
        if not self.chance(3):
            out["ports"] = [self.network_port() for _ in range(self.random.randint(0, 2))]
        return out

    def network_peer(self):
        form = self.random.randrange(4)
        if form == 0:
            return {"ipBlock": self.block()}
        out = {}
        if form != 1:
            out["podSelector"] = {} if self.chance(4) else self.selector(False)
        if form != 2:
            out["namespaceSelector"] = self.random.choice((
                {}, {"matchLabels": {"env": "prod"}}, {"matchLabels": {"kubernetes.io/metadata.name": "bank"}},
                {"matchExpressions": [{"key": "env", "operator": "NotIn", "values": ["prod"]}]},
                {"matchExpressions": [{"key": "env", "operator": "Exists"}]}))
        return out

    def network_port(self):
        out = {} if self.chance(3) else {"protocol": self.random.choice(("TCP", "UDP"))}
        form = self.random.randrange(5)
        if form == 0:
            return out
        if form == 1:
            return out | {"port": self.random.choice(("http", "dns"))}
        port = self.random.choice((53, 80, 443, 8080))
        return out | {"port": port} | ({"endPort": port + self.random.randrange(400)} if form == 2 else {})

    def spec(self, kind):
        out = {"endpointSelector": {} if self.chance(3) else self.selector(kind != "CiliumNetworkPolicy")}
        sections = [each for each in ("ingress", "egress", "ingressDeny", "egressDeny") if self.chance(2)]
        for section in sections or ["ingress"]:
            out[section] = [self.rule(section) for _ in range(self.random.randint(1, 2))]
        if self.chance(5):
            # Not true for a direction without rules, which Cilium's documentation has denied and its code leaves open.
            out["enableDefaultDeny"] = {side: self.chance(2) and (side in out or side + "Deny" in out)
                                        for side in ("ingress", "egress") if self.chance(2)}
        return out

    def rule(self, section):
        side = "from" if section.startswith("ingress") else "to"
        out = dict(self.random.choice((
            lambda: {}, lambda: {side + "Endpoints": self.selectors()}, lambda: {side + "Endpoints": self.selectors()},
            lambda: {side + "Entities": self.random.sample(ENTITIES, self.random.randint(1, 2))},
            lambda: {side + "CIDR": [self.cidr() for _ in range(self.random.randint(1, 2))]},
            lambda: {side + "CIDRSet": [self.cidr_rule() for _ in range(self.random.randint(1, 2))]},
            lambda: {side + "Endpoints": self.selectors(), side + "Entities": [self.random.choice(ENTITIES)]},
            lambda: {side + "Endpoints": []}))())
        ports = self.random.randrange(6)
        if ports == 0:
            # Not type 0: Cilium's policy code takes it for every type, although it is an echo reply.
            out["icmps"] = [{"fields": [{"type": self.random.choice((8, 8, 3, "EchoRequest")),
                                         "family": "IPv4"} for _ in range(self.random.randint(1, 2))]}]
        elif ports < 4:
            out["toPorts"] = [{"ports": [self.port() for _ in range(self.random.randint(1, 2))]}]
        return out

    def selectors(self):
        return [{} if self.chance(6) else self.selector(True) for _ in range(self.random.randint(1, 2))]

    def cidr_rule(self):
        form = self.random.randrange(4)
        if form == 0:
            return {"cidrGroupRef": self.random.choice(("near", "far"))}
        if form == 1:
            return {"cidrGroupSelector": {"matchLabels": {"zone": self.random.choice(("x", "z"))}}}
        return self.block()

    def port(self):
        protocol = self.random.choice(("TCP", "UDP", "ANY", None))
        out = {"protocol": protocol} if protocol else {}
        form = self.random.randrange(6)
        if form == 0:
            return out | {"port": self.random.choice(("http", "dns"))}
        port = self.random.choice((53, 80, 443, 8080, 0 if self.chance(3) else 80))
        return out | {"port": str(port)} | ({"endPort": port + self.random.randrange(1, 400)}
                                            if form == 1 and port else {})


def in_block(inner, outer):
    def number(text):
        return int("".join(f"{int(each):08b}" for each in text.split("/")[0].split(".")), 2)
    shift = 32 - int(outer.split("/")[1])
    return number(inner) >> shift == number(outer) >> shift


def packets(random, parties, count, changed=()):
    """[from, to, protocol, port or ICMP type]; at least one end is a pod of ours, and of half of them one changed."""
    ours = [i for i, who in enumerate(parties) if who["kind"] == "pod" and who["cluster"] == "east"]
    out = []
    while len(out) < count:
        other = random.choice(changed) if changed and len(out) % 2 else random.randrange(len(parties))
        pair = [random.choice(ours), other]
        if pair[0] == pair[1]:
            continue
        random.shuffle(pair)
        protocol = random.choice((TCP, TCP, TCP, UDP, UDP, ICMP))
        port = ECHO_REQUEST if protocol == ICMP else random.choice((53, 80, 81, 443, 600, 8080, 8081))
        out.append([*pair, protocol, port])
    return out
