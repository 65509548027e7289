"""A gateway as a pod with the chart's roles at a real API server with RBAC: it is refused nothing, it uses each right
that it has, and each that is taken away is missed."""

import contextlib
import copy
import json
import os
import shutil
import sys
import unittest

import yaml

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "netns"))

import api_extensions  # noqa: E402
import cluster_hub_test  # noqa: E402
import kube_apiserver  # noqa: E402
from fleet.netns import NODE_SYSCTLS, Namespace  # noqa: E402
from fleet.shell import wait_until  # noqa: E402
from node_pod import Node, NodePod  # noqa: E402
from release import Release  # noqa: E402

SERVICE_ADDRESS, SERVICE_PORT = "10.96.0.1", 443  # of the Service kubernetes: the first of its range
NAMESPACE = "kube-system"
USER = f"system:serviceaccount:{NAMESPACE}:isthmus"
AUDIT_POLICY = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy",
                "rules": [{"level": "Metadata", "users": [USER]}, {"level": "None"}]}
CUSTOM = tuple(row for row in cluster_hub_test.CUSTOM if row[0] != "isthmus.io") + (
    ("cilium.io", "v2", "CiliumNode", False, "ciliumnodes"),
    ("networking.fleet.azure.com", "v1alpha1", "EndpointSliceExport", True, None),
    ("networking.fleet.azure.com", "v1alpha1", "InternalServiceExport", True, None),
    ("networking.fleet.azure.com", "v1alpha1", "ServiceImport", True, None),
    ("networking.fleet.azure.com", "v1alpha1", "ServiceExport", True, None),
    ("cluster.kubernetes-fleet.io", "v1beta1", "MemberCluster", False, None),
    ("cluster.kubernetes-fleet.io", "v1beta1", "InternalMemberCluster", True, None),
    ("policy.networking.k8s.io", "v1alpha1", "AdminNetworkPolicy", False, "adminnetworkpolicies"),
    ("policy.networking.k8s.io", "v1alpha1", "BaselineAdminNetworkPolicy", False, "baselineadminnetworkpolicies"),
    ("policy.networking.k8s.io", "v1alpha2", "ClusterNetworkPolicy", False, "clusternetworkpolicies"),
)
VALUES = {
    "config": {"gateway": {"cluster": "east"}, "engine": {"connections": 4096},
               "hub": {"kubernetes": {"cluster": "in-cluster", "fleet": "in-cluster"}, "wait": "1s"},
               "admission": {"node_ranges": ["198.51.100.0/24"]}},
    "fleet": {"clusters": {"east": {"id": 1, "podCIDRs": ["10.1.0.0/16"]}},
              "gateways": {"east-1": {"cluster": "east", "underlayAddress": "198.51.100.11"}},
              "profiles": {"fleet": {"clusters": ["east"]}}}}
# Refused in part: the gateway says so where people look.
REFUSED = {"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy",
           "metadata": {"name": "names", "namespace": "shop"},
           "spec": {"endpointSelector": {}, "egress": [{"toFQDNs": [{"matchName": "example.org"}]}]}}
UNREAD = {"adminnetworkpolicies": "AdminNetworkPolicy", "clusternetworkpolicies": "ClusterNetworkPolicy",
          "baselineadminnetworkpolicies": "BaselineAdminNetworkPolicy"}
CRDS = os.path.join(os.path.dirname(os.path.dirname(HERE)), "packaging", "helm", "isthmus", "crds")


class AuditedServer(kube_apiserver.KubeApiServer):
    """It lists in the ordinary way, as servers without the streaming of lists do, and writes down who asks for what."""

    def _flags(self):
        policy = os.path.join(self.folder, "audit.json")
        with open(policy, "w", encoding="utf-8") as file:
            json.dump(AUDIT_POLICY, file)
        self.audit = os.path.join(self.folder, "audit.log")
        return ["--audit-policy-file", policy, "--audit-log-path", self.audit, "--feature-gates", "WatchList=false"]

    def requests(self):
        """(API group, resource, verb, status) of each request of the gateway's account since forget()."""
        with open(self.audit, encoding="utf-8") as file:
            for line in file:
                event = json.loads(line)
                where = event.get("objectRef", {})
                resource = "/".join(filter(None, (where.get("resource"), where.get("subresource"))))
                yield (where.get("apiGroup", ""), resource, event["verb"],
                       event.get("responseStatus", {}).get("code", 0))

    def forget(self):
        os.truncate(self.audit, 0)


def rights_of(role):
    return {(group, resource, verb) for rule in role["rules"] for group in rule["apiGroups"]
            for resource in rule["resources"] for verb in rule["verbs"]}


def without(role, group, resource):
    """The role less that resource."""
    role = copy.deepcopy(role)
    for rule in role["rules"]:
        if group in rule["apiGroups"]:
            rule["resources"] = [one for one in rule["resources"] if one != resource]
    role["rules"] = [rule for rule in role["rules"] if rule["resources"]]
    return role


@unittest.skipIf(os.geteuid() != 0, "needs root")
class Rights(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.release = Release.of(cls)
        cls.hub = AuditedServer(kube_apiserver.build(cls.release.folder))
        cls.addClassCleanup(cls.hub.close)
        cls.hub.start()
        for group, version, kind, namespaced, plural in CUSTOM:
            cls.hub.install(group, version, kind, namespaced, plural)
        cls.netns = Namespace(f"ist-t{os.getpid()}-rights", NODE_SYSCTLS)
        cls.addClassCleanup(cls.netns.remove)
        cls.netns.ip("link add eth0 type veth peer name router", "link set router up", "link set eth0 up",
                     "addr add 198.51.100.11/24 dev eth0", "addr add 198.51.100.254/24 dev router",
                     "route add default via 198.51.100.254", f"addr add {SERVICE_ADDRESS}/32 dev lo")
        cls.proxy = api_extensions.Proxy(api_extensions.listen_in(cls.netns, SERVICE_ADDRESS, SERVICE_PORT))
        cls.proxy.target = cls.hub.proxy.target
        cls.addClassCleanup(cls.proxy.close)
        cls.node = Node("east-1", cls.netns, os.path.join(cls.release.folder, "node"))
        cls.addClassCleanup(cls.node.close)
        cls.objects = cls.release.render(VALUES)
        cls.fill()

    @classmethod
    def fill(cls):
        """What the chart creates, and something of each kind that is not read."""
        for name in sorted(os.listdir(CRDS)):
            with open(os.path.join(CRDS, name), encoding="utf-8") as file:
                cls.hub.request("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", yaml.safe_load(file))
        for plural in ("clusters", "gateways", "crossclusternetworkprofiles"):
            wait_until(lambda at=plural: cls.hub.request("GET", f"/apis/isthmus.io/v1alpha1/{at}"), what=plural)
        for one in cls.objects:
            if one["kind"] in ("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "Cluster",
                               "Gateway", "CrossClusterNetworkProfile"):
                cls.hub.request("POST", cls.path(one, False), one)
        cls.hub.request("POST", "/api/v1/namespaces", cluster_hub_test.NAMESPACE)
        cls.hub.request("POST", "/apis/cilium.io/v2/namespaces/shop/ciliumnetworkpolicies", REFUSED)
        cls.hub.request("POST", f"/api/v1/namespaces/{NAMESPACE}/configmaps", {
            "metadata": {"name": "cilium-config"}, "data": {"policy-default-local-cluster": "true"}})
        for group, version, kind, _, plural in CUSTOM:
            if plural in UNREAD:
                cls.hub.request("POST", f"/apis/{group}/{version}/{plural}", {
                    "apiVersion": f"{group}/{version}", "kind": kind, "metadata": {"name": "default"}})

    @staticmethod
    def path(one, named=True):
        namespace = one["metadata"].get("namespace")
        plural = one["kind"].lower() + "s"
        version = one["apiVersion"]
        place = f"namespaces/{namespace}/{plural}" if namespace else plural
        return (f"/{'apis' if '/' in version else 'api'}/{version}/{place}" +
                (f"/{one['metadata']['name']}" if named else ""))

    def role(self, kind):
        return next(one for one in self.objects if one["kind"] == kind)

    @contextlib.contextmanager
    def gateway(self):
        """A pod with a new token of the chart's account."""
        token = self.hub.request("POST", f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/isthmus/token",
                                 {"spec": {"expirationSeconds": 3600}})["status"]["token"]
        daemon_set = self.role("DaemonSet")
        pod = NodePod(self.node, daemon_set, self.objects, self.release.image, self.release.defaults,
                      {"token": token, "ca": self.hub.access["ca"], "host": SERVICE_ADDRESS, "port": SERVICE_PORT})
        shutil.rmtree(os.path.join(self.node.path("/var/lib/isthmus"), "east-1.known"), ignore_errors=True)
        for one in self.objects:  # what an earlier pod has said of them is not said again
            if one["kind"] in ("Cluster", "Gateway", "CrossClusterNetworkProfile"):
                now = self.hub.request("GET", self.path(one))
                self.hub.request("PUT", self.path(one) + "/status", {**now, "status": {}})
        self.hub.forget()
        pod.start()
        try:
            yield pod
        finally:
            pod.end()

    def used(self):
        return {row[:3] for row in self.hub.requests() if row[3] != 404}

    def refused(self):
        return {row[:3] for row in self.hub.requests() if row[3] in (401, 403)}

    def granted(self):
        return rights_of(self.role("ClusterRole")) | rights_of(self.role("Role"))

    def status(self, pod):
        done = pod.exec("/usr/bin/isthmus", "status", "-o", "json", check=False)
        return json.loads(done.stdout) if done.returncode == 0 else None

    @staticmethod
    def agents_configuration(status):
        """How many ConfigMaps of Cilium's agents it has read."""
        return next((part["objects"] for part in status["hub"]["parts"] if part["name"].startswith("configmaps")), None)

    def serving(self, pod):
        def ready():
            if not pod.daemon.alive:
                raise AssertionError(pod.daemon.log_tail(30))
            status = self.status(pod)
            return status if status and status["state"] == "serving" else None
        return wait_until(ready, 60, what="the gateway serves")

    def test_it_is_refused_nothing_and_uses_each_right(self):
        with self.gateway() as pod:
            self.serving(pod)
            try:
                wait_until(lambda: self.used() >= self.granted(), 60, what="each right is used")
            except TimeoutError:
                self.assertEqual(self.granted() - self.used(), set(), "rights that are not used")
            self.assertEqual(self.refused(), set())
            wait_until(lambda: self.agents_configuration(self.status(pod)) == 1, 30, what="Cilium's settings are read")
            self.assertEqual(self.used() - self.granted(), set(), "rights that the server gives anyone")

    def test_each_right_that_is_taken_away_is_missed(self):
        for kind in ("ClusterRole", "Role"):
            role = self.role(kind)
            for group, resource in sorted({right[:2] for right in rights_of(role)}):
                with self.subTest(f"{resource}.{group}"):
                    self.hub.request("PUT", self.path(role), without(role, group, resource))
                    self.addCleanup(self.hub.request, "PUT", self.path(role), role)
                    with self.gateway() as pod:
                        wait_until(lambda: any(right[:2] == (group, resource) for right in self.refused()), 60,
                                   what=f"{resource} of {group} is refused")
                        self.assert_missed(pod, group, resource)
                    self.hub.request("PUT", self.path(role), role)

    def assert_missed(self, pod, group, resource):
        """It is said, by a problem that names it; or what it was for is not there."""
        def said():
            status = self.status(pod)
            texts = [json.dumps(problem) for problem in status["problems"]] if status else []
            if resource in UNREAD:  # whose policies would be listed
                listed = {kind for kind in UNREAD.values() for text in texts if f'"{kind} default is not read' in text}
                return listed == set(UNREAD.values()) - {UNREAD[resource]}
            if resource == "configmaps":  # which may be withheld: then a selector means this cluster
                return status is not None and self.agents_configuration(status) == 0
            return any(resource.split("/")[0] in text for text in texts)
        wait_until(said, 60, what=f"the gateway misses {resource} of {group}: {self.status(pod)}")


if __name__ == "__main__":
    unittest.main()
