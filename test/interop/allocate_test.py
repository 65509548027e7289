"""`isthmus allocate` at a real kube-apiserver: VIPs for Services, by several at once and with RBAC."""

import json
import os
import subprocess
import tempfile
import unittest

import kube_apiserver
from object_status_test import PROGRAM, ours

USER = "allocator"
POOL = "10.200.0.0/28"  # 14 addresses


def service(name):
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"},
            "spec": {"ports": [{"port": 80}]}}


class Allocate(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        programs = tempfile.TemporaryDirectory(prefix="ist-interop-")
        cls.addClassCleanup(programs.cleanup)
        cls.program = kube_apiserver.build(programs.name)

    def setUp(self):
        self.hub = kube_apiserver.KubeApiServer(self.program)
        self.addCleanup(self.hub.close)
        self.hub.start()
        self.hub.install_ours()
        with open(self.hub.kubeconfig, encoding="utf-8") as file:
            access = json.load(file)
        access["users"][0]["user"]["as"] = USER
        self.kubeconfig = os.path.join(self.hub.folder, "allocator")
        with open(self.kubeconfig, "w", encoding="utf-8") as file:
            json.dump(access, file)
        self.grant([{"apiGroups": [""], "resources": ["services"], "verbs": ["list", "patch"]},
                    {"apiGroups": ["isthmus.io"], "verbs": ["list"],
                     "resources": ["clusters", "gateways", "crossclusternetworkprofiles"]},
                    {"apiGroups": ["multicluster.x-k8s.io"], "resources": ["serviceimports"], "verbs": ["list"]}])
        self.bind()

    def rbac(self, kind, **more):
        return {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {"name": "allocate"}, **more}

    def grant(self, rules):
        path = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
        self.hub.request("DELETE", path + "/allocate")
        self.hub.request("POST", path, self.rbac("ClusterRole", rules=rules))

    def bind(self):
        self.hub.request("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", self.rbac(
            "ClusterRoleBinding", subjects=[{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": USER}],
            roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "allocate"}))

    def create(self, *names):
        for name in names:
            self.hub.request("POST", "/api/v1/namespaces/default/services", service(name))

    def annotations(self, name):
        found = self.hub.request("GET", f"/api/v1/namespaces/default/services/{name}")
        return found["metadata"].get("annotations", {})

    def start(self, name, *words):
        return subprocess.Popen([PROGRAM, "allocate", f"default/{name}", "--kubeconfig", self.kubeconfig, *words],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def allocate(self, name, *words):
        """(exit code, standard output, standard error)"""
        process = self.start(name, *words)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    def test_a_claim_is_made_once_and_says_the_same_again(self):
        self.create("web", "cart")
        code, out, err = self.allocate("web", "--pool", POOL, "--pool", "fd00:200::/120", "--dry-run")
        self.assertEqual((code, out), (0, "10.200.0.1\nfd00:200::1\n"), err)
        self.assertEqual(self.annotations("web"), {})
        for _ in range(2):
            code, out, err = self.allocate("web", "--pool", POOL, "--pool", "fd00:200::/120")
            self.assertEqual((code, out), (0, "10.200.0.1\nfd00:200::1\n"), err)
            self.assertEqual(self.annotations("web"), {"isthmus.io/vip": "10.200.0.1,fd00:200::1"})
        self.assertEqual(self.allocate("cart", "--pool", POOL)[1], "10.200.0.2\n")
        code, _, err = self.allocate("cart", "--pool", "10.201.0.0/24")
        self.assertEqual(code, 1)
        self.assertIn("already claims 10.200.0.2, which does not match the pools", err)

    def test_pools_are_those_that_a_profile_gives_the_cluster(self):
        self.create("web")
        code, _, err = self.allocate("web", "--cluster", "east")
        self.assertEqual(code, 1)
        self.assertIn("no CrossClusterNetworkProfile has VIP pools of cluster \"east\"", err)
        self.hub.request("POST", "/apis/isthmus.io/v1alpha1/crossclusternetworkprofiles", ours(
            "CrossClusterNetworkProfile", "fleet", clusters=["east"],
            members=[{"cluster": "east", "vipPools": ["10.203.0.0/24"]}]))
        self.assertEqual(self.allocate("web", "--cluster", "east")[:2], (0, "10.203.0.1\n"))

    def test_a_pool_within_a_cluster_is_refused(self):
        self.create("web")
        self.hub.request("POST", "/apis/isthmus.io/v1alpha1/clusters", ours(
            "Cluster", "east", id=1, podCIDRs=["10.200.0.0/16"]))
        code, _, err = self.allocate("web", "--pool", POOL)
        self.assertEqual(code, 1)
        self.assertIn("overlaps 10.200.0.0/16 of cluster east", err)

    def test_many_at_once_never_get_one_address_twice(self):
        names = [f"web-{number}" for number in range(14)]  # as many as there are addresses
        self.create(*names)
        started = [(name, self.start(name, "--pool", POOL)) for name in names for _ in range(2)]
        answers = {}
        for name, process in started:
            out, err = process.communicate(timeout=120)
            self.assertEqual(process.returncode, 0, err)
            answers.setdefault(name, set()).add(out.strip())
        for name in names:
            self.assertEqual({self.annotations(name)["isthmus.io/vip"]}, answers[name])
            self.assertEqual(list(self.annotations(name)), ["isthmus.io/vip"])
        self.assertEqual(len(set.union(*answers.values())), len(names), answers)
        self.create("one-more")
        code, _, err = self.allocate("one-more", "--pool", POOL)
        self.assertEqual(code, 1)
        self.assertIn("no free IPv4 address is left in the pools", err)

    def test_a_missing_right_or_service_is_named(self):
        self.create("web")
        self.grant([{"apiGroups": [""], "resources": ["services"], "verbs": ["patch"]}])
        code, _, err = self.allocate("web", "--pool", POOL)
        self.assertEqual(code, 1)
        self.assertIn("grant list on services", err)
        self.grant([{"apiGroups": ["", "isthmus.io", "multicluster.x-k8s.io"], "resources": ["*"], "verbs": ["list"]}])
        code, _, err = self.allocate("web", "--pool", POOL)
        self.assertEqual(code, 1)
        self.assertIn("grant patch on services in namespace default", err)
        self.assertEqual(self.annotations("web"), {})
        code, _, err = self.allocate("none", "--pool", POOL)
        self.assertEqual(code, 1)
        self.assertIn("there is no Service default/none", err)


if __name__ == "__main__":
    unittest.main()
