"""The chart, by Helm itself: linted, rendered with every kind of values, refused where values are wrong; installed,
upgraded and rolled back on a real API server, whose validation takes every object; manifests without Helm likewise."""

import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

import yaml

import api_extensions
import helm_program
import kube_apiserver

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "test", "support"))

from documents import block  # noqa: E402  (needs the path above)

PACKAGING = os.path.join(ROOT, "packaging")
CHART = os.path.join(PACKAGING, "helm", "isthmus")
VALUES = sorted(glob.glob(os.path.join(PACKAGING, "manifests", "values", "*.yaml")))
PROGRAM = os.environ.get("ISTHMUS_PROGRAM", os.path.join(ROOT, "build", "control", "cli", "isthmus"))
EAST = {"config": {"gateway": {"cluster": "east"}}}
# Every option at once, but for those that exclude each other.
ALL = {
    "image": {"repository": "registry.example/isthmus", "digest": "sha256:" + "0" * 64},
    "imagePullSecrets": [{"name": "registry"}],
    "config": {"gateway": {"cluster": "east", "cluster_id": 1}, "metrics": {"address": "0.0.0.0", "port": 9990},
               "state": {"directory": "/dev/shm", "last_known_directory": "/var/lib/isthmus"},
               "hub": {"kubernetes": {"cluster": "in-cluster", "fleet": "/etc/isthmus-fleet-hub/kubeconfig"},
                       "etcd": {"clusters": "/var/lib/cilium/clustermesh"}},
               "gateways": {"east-a": {"engine": {"cores": [2, 3]}, "translation": {"ipv4": "10.1.255.1"}}}},
    "hostAliases": [{"ip": "192.0.2.1", "hostnames": ["west.mesh.cilium.io"]}],
    "serviceAccount": {"name": "gateways", "annotations": {"a": "b"}},
    "gatewayService": {"enabled": True, "encapsulation": "geneve", "annotations": {"a": "b"}},
    "commonLabels": {"team": "network"}, "podLabels": {"c": "d"}, "podAnnotations": {"e": "f"},
    "extraEnv": [{"name": "TZ", "value": "UTC"}],
    "extraVolumes": [{"name": "hub", "hostPath": {"path": "/srv/hub", "type": "Directory"}}],
    "extraVolumeMounts": [{"name": "hub", "mountPath": "/hub", "readOnly": True}],
    "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{"matchExpressions": [{"key": "gateway", "operator": "Exists"}]}]}}},
    "updateStrategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}, "minReadySeconds": 30,
    "priorityClass": {"name": "gateways", "create": True},
    "resources": {"requests": {"cpu": 2, "memory": "2Gi"}, "limits": {"memory": "4Gi"}},
    "securityContext": {"seLinuxOptions": {"type": "spc_t"}},
    "metrics": {"serviceMonitor": True, "serviceMonitorLabels": {"release": "prometheus"}},
    "podDisruptionBudget": {"enabled": True},
    "networkPolicy": {"enabled": True, "metricsFrom": [{"namespaceSelector": {}}]},
    "namespace": {"create": True},
}
SETS = {"all": ALL, "privileged": EAST | {"securityContext": {"privileged": True}},
        "cleanup": EAST | {"cleanup": True},
        "without rights and hooks": EAST | {"rbac": {"create": False}, "probes": {"enabled": False},
                                            "preStop": {"enabled": False}},
        "one KVStoreMesh hub": {"config": {"gateway": {"cluster": "east", "cluster_id": 1}, "hub": {
            "kubernetes": None, "etcd": {"kvstoremesh": "/var/lib/cilium/clustermesh/east"}}}},
        "nothing for what may be left out": {
            **EAST, **dict.fromkeys(("podLabels", "commonLabels", "podAnnotations", "resources", "extraVolumes",
                                     "extraVolumeMounts", "nodeSelector", "tolerations", "affinity")),
            "config": {**EAST["config"], "metrics": {"address": "0.0.0.0"}},
            "metrics": {"serviceMonitor": True, "serviceMonitorLabels": None}},
        "the chart's README": yaml.safe_load(block("chart-values"))}
# Names that YAML takes for numbers, booleans or nothing where they stand without quotes.
ODD = {"config": {"gateway": {"cluster": "1"}, "metrics": {"address": "0.0.0.0"},
                  "hub": {"kubernetes": {"cluster": "in-cluster", "fleet": "/etc/isthmus-fleet-hub/12"},
                          "etcd": {"kvstoremesh": "/var/lib/cilium/clustermesh/1e3"}},
                  "gateways": {"12e3": {"translation": {"ipv4": "10.1.255.1"}}}},
       "fleet": {"clusters": {"1": {"id": 1, "podCIDRs": ["10.1.0.0/16"]}},
                 "gateways": {"12e3": {"cluster": "1", "underlayAddress": "192.0.2.11"}},
                 "profiles": {"0x1f": {"clusters": ["1", "2"]}}},
       "clustermesh": {"secretName": "1", "remoteCertSecretName": "2", "localCertSecretName": "3"},
       "fleetHub": {"kubeconfigSecretName": "1e3"}, "serviceAccount": {"name": "007"},
       "gatewayService": {"enabled": True, "name": "off"}, "priorityClass": {"name": "1", "create": True},
       "metrics": {"serviceMonitor": True}, "podDisruptionBudget": {"enabled": True},
       "networkPolicy": {"enabled": True}, "namespace": {"create": True}}
SURGE = {"updateStrategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}}
# What must be refused → words of the message.
WRONG = {
    "no cluster": ({}, "config.gateway.cluster is needed"),
    "a misspelt value": ({"imgae": {}}, "'imgae' not allowed"),
    "a misspelt key of the configuration": ({"config": {"engine": {"wrokers": 1}}}, "'wrokers' not allowed"),
    "the same for one gateway": ({"config": {"gateways": {"a": {"engine": {"wrokers": 1}}}}}, "'wrokers' not allowed"),
    "a number out of range": ({"config": {"engine": {"workers": 65}}}, "maximum: got 65"),
    "a word that is none": ({"config": {"engine": {"idle": "nap"}}}, "/config/engine/idle"),
    "a duration without a unit": ({"config": {"health": {"hold": "10"}}}, "/config/health/hold"),
    "a name, which is the node's": ({"config": {"gateway": {"name": "a"}}}, "'name' not allowed"),
    "a capability with its prefix": ({"securityContext": {"capabilities": ["CAP_BPF"]}}, "capabilities"),
    "a pull policy that is none": ({"image": {"pullPolicy": "always"}}, "pullPolicy"),
    "metrics that nobody reaches": ({"metrics": {"service": True}}, "set config.metrics.address"),
    "a class of Kubernetes' own": ({"priorityClass": {"create": True}}, "needs a priorityClass.name of your own"),
    "a namespace that exists": ({"namespace": {"create": True}}, "is not for kube-system"),
    "what rights, probes and mounts follow from, for one gateway": (
        {"config": {"gateways": {"a": {"metrics": {"port": 9980}}}}}, "'metrics' not allowed"),
    "an update that Kubernetes has not": ({"updateStrategy": {"rollingUpdate": {"maxSurge": 1}}},
                                          "maxUnavailable has to be 0"),
    "a name that no Service can have": ({"fullnameOverride": "isthmus.gateway"}, "/fullnameOverride"),
    "a kubeconfig among the configuration": (
        {"config": {"hub": {"kubernetes": {"fleet": "/etc/isthmus//kubeconfig"}}}}, "config.hub.kubernetes.fleet"),
    "a ClusterMesh among the configuration": (
        {"config": {"hub": {"etcd": {"clusters": "/etc/isthmus/"}}}}, "config.hub.etcd"),
    "a ClusterMesh below the configuration": (
        {"config": {"hub": {"etcd": {"clusters": "/etc/isthmus/mesh"}}}}, "config.hub.etcd"),
    "a kubeconfig whose folder is the root": (
        {"config": {"hub": {"kubernetes": {"fleet": "/kubeconfig"}}}}, "cannot be mounted at /"),
    "a hub folder in the place of the image's programs": (
        {"config": {"hub": {"file": {"path": "/usr"}}}}, "cannot be mounted at /usr"),
    "a mount of a user's over one of the chart's": (
        {"extraVolumeMounts": [{"name": "a", "mountPath": "/run/isthmus/"}]}, "the admin sockets"),
    "a mount of a user's around one of the chart's": (
        {"extraVolumeMounts": [{"name": "a", "mountPath": "/etc"}]}, "one within the other"),
    "two mounts of a user's at one place": (
        {"extraVolumeMounts": [{"name": "a", "mountPath": "/a"}, {"name": "b", "mountPath": "/a/"}]},
        "be neither equal"),
    "what hubs said last among the sockets": (
        {"config": {"state": {"last_known_directory": "/run/isthmus/known"}}}, "config.state.last_known_directory"),
    "names of services where the node's folder is not mounted": (
        {"config": {"gateways": {"a": {"dns": {"file": "/run/dnsmasq/hosts"}}}}}, "config.gateways.a.dns.file"),
    "a socket where nothing can be written": (
        {"config": {"admin": {"socket": "/hub/a.sock"}},
         "extraVolumeMounts": [{"name": "hub", "mountPath": "/hub", "readOnly": True}]}, "config.admin.socket"),
    "a path upwards": ({"hostPaths": {"run": "/run/../etc"}}, "/hostPaths/run"),
    "a path upwards in the configuration": (
        {"config": {"hub": {"file": {"path": "/srv/.."}}}}, "/config/hub/file/path"),
    "a label of all objects that selectors go by": (
        {"commonLabels": {"app.kubernetes.io/name": "a"}}, "app.kubernetes.io/name"),
    "a label of the pods that selectors go by": (
        {"podLabels": {"app.kubernetes.io/instance": "a"}}, "app.kubernetes.io/instance"),
    "a label that Kubernetes does not take": ({"podLabels": {"a": "b c"}}, "/podLabels/a"),
    "the configuration's checksum": ({"podAnnotations": {"checksum/config": "a"}}, "checksum/config"),
    "a gateway Service that is not global": (
        {"gatewayService": {"annotations": {"service.cilium.io/global": "false"}}}, "service.cilium.io/global"),
    "a gateway's name of a user's own": (
        {"extraEnv": [{"name": "ISTHMUS_NAME", "value": "a"}]}, "/extraEnv/0/name"),
    "a profile without a path": ({"securityContext": {"seccompProfile": {"type": "Localhost"}}}, "localhostProfile"),
    "a path without its profile": (
        {"securityContext": {"appArmorProfile": {"localhostProfile": "a"}}}, "/securityContext/appArmorProfile"),
    "an update of no node": ({"updateStrategy": {"rollingUpdate": {"maxUnavailable": "0%"}}}, "cannot both be 0"),
    "a gateway Service with a dot in its name": ({"gatewayService": {"name": "a.b"}}, "/gatewayService/name"),
    "a limit below the request": (
        {"resources": {"limits": {"cpu": "0.4"}}}, "the limit of cpu, 0.4, is below what is requested, 500m"),
    "a limit of memory below the request": ({"resources": {"limits": {"memory": "400M"}}}, "the limit of memory"),
    "a quantity that is none": ({"resources": {"limits": {"cpu": "1 core"}}}, "/resources/limits/cpu"),
    "a cluster's name that is none": ({"config": {"gateway": {"cluster": "East"}}}, "/config/gateway/cluster"),
    "metrics on another loopback address": (
        {"metrics": {"service": True}, "config": {"metrics": {"address": "127.1.1.1"}}}, "set config.metrics.address"),
    "metrics on a loopback address written out": (
        {"metrics": {"service": True}, "config": {"metrics": {"address": "0:0:0:0:0:0:0:1"}}},
        "set config.metrics.address"),
    "an account without a name": ({"serviceAccount": {"create": False}}, "serviceAccount.name is needed"),
}


def merged(base, over):
    return {key: merged(base.get(key, {}), value) if isinstance(value, dict) else value
            for key, value in {**base, **over}.items()}


class KubernetesLoader(yaml.SafeLoader):
    """As Kubernetes and Helm read YAML: a number may have an exponent without a dot."""


KubernetesLoader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+$"),
                                       list("-+0123456789"))


def texts_at(node, path=()):
    """(path, value) of all leaves that name something."""
    named = ("name", "namespace", "secretName", "serviceAccountName", "priorityClassName", "path", "mountPath",
             "cluster")
    if isinstance(node, dict):
        for key, value in node.items():
            yield from texts_at(value, (*path, key))
    elif isinstance(node, list):
        for value in node:
            yield from texts_at(value, path)
    elif path[-1] in named or "labels" in path or "matchLabels" in path or "annotations" in path or "clusters" in path:
        yield path, node


class ChartCase(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="ist-chart-")
        cls.addClassCleanup(folder.cleanup)
        cls.folder = folder.name
        cls.helm_program = helm_program.build(cls.folder)

    def helm(self, *words, check=True):
        environment = {**os.environ, **{f"HELM_{what}_HOME": os.path.join(self.folder, what)
                                        for what in ("CACHE", "CONFIG", "DATA")}}
        done = subprocess.run([self.helm_program, *words], capture_output=True, text=True, check=False, env=environment)
        if check:
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done

    def values(self, values):
        """A file with them: JSON, whose texts are texts to every reader of YAML."""
        path = os.path.join(self.folder, "values.yaml")
        with open(path, "w", encoding="utf-8") as file:
            json.dump(values, file)
        return path

    def template(self, values, *words, check=True):
        return self.helm("template", "isthmus", CHART, "--namespace", "kube-system", "--values",
                         values if isinstance(values, str) else self.values(values), *words, check=check)


class Rendered(ChartCase):
    def test_helm_finds_nothing_wrong_with_it(self):
        for name, values in [(path, path) for path in VALUES] + list(SETS.items()):
            with self.subTest(name):
                path = values if isinstance(values, str) else self.values(values)
                namespace = "isthmus-system" if values is ALL else "kube-system"
                text = self.helm("lint", "--strict", CHART, "--namespace", namespace, "--values", path).stdout
                self.assertIn("0 chart(s) failed", text)

    def test_wrong_values_are_refused_and_the_message_says_why(self):
        for name, (values, words) in WRONG.items():
            with self.subTest(name):
                done = self.template(values if name == "no cluster" else merged(EAST, values), check=False)
                self.assertNotEqual(done.returncode, 0, done.stdout)
                self.assertIn(words, done.stderr)

    def test_a_name_is_a_name_whatever_yaml_makes_of_it(self):
        for release, full, namespace in (("123", "null", "123"), ("1e3", "true", "1e3"), ("on", "on", "no")):
            text = self.helm("template", release, CHART, "--namespace", namespace, "--values",
                             self.values({**ODD, "fullnameOverride": full})).stdout
            objects = [one for one in yaml.load_all(text, KubernetesLoader) if one]
            folder = self.helm("template", release, CHART, "--namespace", namespace, "--values",
                               self.values(merged(ODD, {"fullnameOverride": full, "config": {"hub": {
                                   "kubernetes": None, "file": {"path": "/srv/1"}}}}))).stdout
            for one in yaml.load_all(folder, KubernetesLoader):
                if one and "fleet.yaml" in one.get("data", {}):
                    objects += [each for each in yaml.load_all(one["data"]["fleet.yaml"], KubernetesLoader) if each]
            found = list(texts_at(objects))
            self.assertGreater(len(found), 100)
            self.assertEqual([], [(path, value) for path, value in found if not isinstance(value, str)])
            names = {one["metadata"]["name"] for one in objects}
            self.assertLessEqual({full, "1", "12e3", "0x1f", "007", "off"}, names)

    def test_each_path_of_the_configuration_is_mounted_or_refused(self):
        """Those that config/schema/reference.md has, so that a new one is not forgotten."""
        with open(os.path.join(ROOT, "config", "schema", "reference.md"), encoding="utf-8") as file:
            keys = re.findall(r"^\| `([a-z0-9_.]+)` \| an absolute path", file.read(), re.MULTILINE)
        self.assertGreater(len(keys), 8)
        for key in keys:
            with self.subTest(key):
                values = "/nowhere/at/all"
                for section in reversed(key.split(".")):
                    values = {section: values}
                done = self.template(merged(EAST, {"config": values}), check=False)
                if done.returncode != 0:
                    self.assertIn(f"config.{key}: no volume", done.stderr)
                    continue
                daemon_set = next(one for one in yaml.safe_load_all(done.stdout) if one and one["kind"] == "DaemonSet")
                mounts = daemon_set["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]
                self.assertTrue([one for one in mounts if one["mountPath"].startswith("/nowhere/at")], mounts)

    def test_what_a_user_mounts_serves_for_paths(self):
        mount = {"extraVolumes": [{"name": "more", "emptyDir": {}}],
                 "extraVolumeMounts": [{"name": "more", "mountPath": "/srv/more/"}],
                 "config": {"admin": {"socket": "/srv/more/a.sock"}, "dns": {"file": "/srv/more/hosts"},
                            "hub": {"etcd": {"clusters": "/var/lib/cilium/clustermesh/",
                                             "register": "/srv/more//register"}}}}
        objects = [one for one in yaml.safe_load_all(self.template(merged(EAST, mount)).stdout) if one]
        test = next(one["spec"] for one in objects if one["kind"] == "Pod")
        self.assertIn("/srv/more/", [one["mountPath"] for one in test["containers"][0]["volumeMounts"]])

    def test_the_status_test_reaches_the_socket_wherever_it_is(self):
        more = {"extraVolumes": [{"name": "more", "emptyDir": {}}],
                "extraVolumeMounts": [{"name": "more", "mountPath": "/srv/more"}]}
        kept = {"state": {"last_known_directory": "/srv/lib"}}
        for values, mounts in ((({"config": {"admin": {"socket": "/var/lib/isthmus/a.sock"}}}), {"/var/lib/isthmus"}),
                               (merged(more, {"config": {"admin": {"socket": "/var/lib/isthmus/a.sock"}}}),
                                {"/var/lib/isthmus"}),
                               ({"config": {"admin": {"socket": "/srv/lib/a.sock"}, **kept}}, {"/srv/lib"}),
                               (merged(more, {"config": {"admin": {"socket": "/srv/more/a.sock"}}}), {"/srv/more"})):
            with self.subTest(values):
                objects = [one for one in yaml.safe_load_all(self.template(merged(EAST, values)).stdout) if one]
                test = next(one["spec"] for one in objects if one["kind"] == "Pod")
                found = test["containers"][0]["volumeMounts"]
                self.assertEqual({one["mountPath"] for one in found}, {"/run/isthmus"} | mounts)
                self.assertEqual({one["name"] for one in found}, {one["name"] for one in test["volumes"]})

    def test_what_values_take_away_is_named(self):
        for name in ("fleet", "securityContext", "metrics", "hostPaths"):
            with self.subTest(name):
                done = self.template(merged(EAST, {name: None}), check=False)
                self.assertIn(f"missing property '{name}'", done.stderr)
        kubernetes_own = self.template(merged(EAST, {"updateStrategy": {"rollingUpdate": None}})).stdout
        self.assertIn("maxUnavailable: 1", kubernetes_own)

    def test_the_network_policy_lets_the_gateways_ports_in(self):
        values = {"networkPolicy": {"enabled": True}, "gatewayService": {"port": 4789}, "fleet": {"gateways": {
            "east-a": {"cluster": "east", "underlayAddress": "192.0.2.11", "port": 9000},
            "east-b": {"cluster": "east", "underlayAddress": "192.0.2.12", "port": 8472},
            "west-a": {"cluster": "west", "underlayAddress": "192.0.2.13", "port": 9001}}}}
        policy = next(one for one in yaml.safe_load_all(self.template(merged(EAST, values)).stdout)
                      if one and one["kind"] == "NetworkPolicy")
        self.assertEqual([(one["protocol"], one["port"]) for one in policy["spec"]["ingress"][0]["ports"]],
                         [("UDP", port) for port in (8472, 6081, 4789, 9000)])

    def test_the_alert_for_a_gateway_that_is_down_is_about_every_release(self):
        """By the job that Prometheus' operator makes of the ServiceMonitor and of its Service's labels."""
        with open(os.path.join(PACKAGING, "alerts", "isthmus.rules.yaml"), encoding="utf-8") as file:
            rules = [rule for group in yaml.safe_load(file)["groups"] for rule in group["rules"]]
        down = next(rule["expr"] for rule in rules if rule["alert"] == "IsthmusDown")
        pattern = re.search(r'job=~"([^"]*)"', down)[1]
        values = merged(EAST, {"metrics": {"serviceMonitor": True}, "config": {"metrics": {"address": "0.0.0.0"}},
                               "nameOverride": "gw", "commonLabels": {"team": "network"}})
        text = self.helm("template", "mesh", CHART, "--namespace", "net", "--values", self.values(values)).stdout
        objects = [one for one in yaml.safe_load_all(text) if one]
        monitor = next(one for one in objects if one["kind"] == "ServiceMonitor")
        selected = [one for one in objects if one["kind"] == "Service" and
                    monitor["spec"]["selector"]["matchLabels"].items() <= one["metadata"]["labels"].items()]
        self.assertEqual([one["metadata"]["name"] for one in selected], ["mesh-gw-metrics"])
        self.assertRegex(selected[0]["metadata"]["labels"][monitor["spec"]["jobLabel"]], f"^(?:{pattern})$")

    def test_the_program_takes_every_rendered_configuration(self):
        for name, values in SETS.items():
            with self.subTest(name):
                words = ["--namespace", "isthmus-system"] if values is ALL else []
                objects = yaml.safe_load_all(self.template(values, *words).stdout)
                text = next(one["data"]["gateway.yaml"] for one in objects if one and one["kind"] == "ConfigMap")
                path = os.path.join(self.folder, "gateway.yaml")
                with open(path, "w", encoding="utf-8") as file:
                    file.write(text)
                done = subprocess.run([PROGRAM, "config", "check", "--name", "east-a", path], capture_output=True,
                                      text=True, check=False)
                self.assertEqual(done.returncode, 0, done.stderr)

    def test_the_manifests_without_helm_are_the_charts(self):
        done = subprocess.run([os.path.join(PACKAGING, "manifests", "generate"), "--check"], capture_output=True,
                              text=True, check=False, env={**os.environ, "HELM": self.helm_program})
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def daemon_set_of(self, values):
        objects = yaml.safe_load_all(self.template(merged(EAST, values)).stdout)
        return next(one["spec"] for one in objects if one and one["kind"] == "DaemonSet")

    def test_no_node_waits_for_one_that_has_cleaned_up(self):
        """A pod that has ended is never ready, and counts as one that is unavailable."""
        spec = self.daemon_set_of({"cleanup": True, **SURGE})
        self.assertEqual(spec["updateStrategy"], {"type": "RollingUpdate", "rollingUpdate": {
            "maxSurge": 0, "maxUnavailable": "100%"}})
        self.assertEqual(spec["minReadySeconds"], 0)

    def test_a_pod_drains_its_own_gateway_alone(self):
        """With a surge, its successor has the socket when it ends."""
        def container(values):
            return self.daemon_set_of(values)["template"]["spec"]["containers"][0]

        def socket(values):
            return next(one["value"] for one in container(values)["env"] if one["name"] == "ISTHMUS_SOCKET")
        self.assertEqual(container({})["lifecycle"]["preStop"]["exec"]["command"], ["isthmus", "drain"])
        self.assertNotIn("lifecycle", container(SURGE))
        self.assertEqual(socket({}), "/run/isthmus/$(ISTHMUS_NAME).sock")
        self.assertEqual(socket({"config": {"admin": {"socket": "/run/isthmus/a.sock"}}}), "/run/isthmus/a.sock")

    def test_a_hub_folder_is_the_nodes(self):
        def mounts(values):
            pod = self.daemon_set_of(values)["template"]["spec"]
            paths = {one["name"]: one.get("hostPath", {}).get("path") for one in pod["volumes"]}
            return {one["mountPath"]: paths[one["name"]] for one in pod["containers"][0]["volumeMounts"]}
        config = {"hub": {"kubernetes": None, "file": {"path": "/srv/hub"}}}
        self.assertEqual(mounts({"config": config})["/srv/hub"], "/srv/hub")
        more = {"extraVolumes": [{"name": "more", "emptyDir": {}}],
                "extraVolumeMounts": [{"name": "more", "mountPath": "/srv"}]}
        self.assertNotIn("/srv/hub", mounts({"config": config, **more}))

    def test_rights_follow_from_the_hubs(self):
        def kinds(values):
            return [one["kind"] for one in yaml.safe_load_all(self.template(values).stdout) if one]
        values = {os.path.basename(path): path for path in VALUES}
        self.assertNotIn("ClusterRole", kinds(values["file.yaml"]))
        self.assertNotIn("ClusterRole", kinds(SETS["one KVStoreMesh hub"]))
        self.assertIn("ClusterRole", kinds(values["cluster.yaml"]))
        self.assertEqual(set(kinds(values["fleet-hub-access.yaml"])),
                         {"ServiceAccount", "ClusterRole", "ClusterRoleBinding"})


class OnAnApiServer(ChartCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if not shutil.which("kubectl"):
            raise unittest.SkipTest("kubectl is not installed")
        cls.hub = kube_apiserver.KubeApiServer(kube_apiserver.build(cls.folder))
        cls.addClassCleanup(cls.hub.close)
        cls.hub.start()
        cls.hub.install("monitoring.coreos.com", "v1", "ServiceMonitor", True)
        cls.kubectl("apply", "--server-side", "--validate=strict", "--filename",
                    os.path.join(PACKAGING, "manifests", "crds.yaml"))
        for kind in ("clusters", "gateways", "crossclusternetworkprofiles"):
            api_extensions.wait_for(lambda at=kind: cls.hub.request("GET", f"/apis/isthmus.io/v1alpha1/{at}"), kind)

    @classmethod
    def kubectl(cls, *words):
        done = subprocess.run(["kubectl", "--kubeconfig", cls.hub.kubeconfig, *words], capture_output=True, text=True,
                              check=False)
        if done.returncode != 0:
            raise AssertionError(f"kubectl {' '.join(words)}: {done.stdout}{done.stderr}")
        return done.stdout

    def on_server(self, *words):
        return self.helm(*words, "--kubeconfig", self.hub.kubeconfig).stdout

    def daemon_set(self, namespace="kube-system"):
        return self.hub.request("GET", f"/apis/apps/v1/namespaces/{namespace}/daemonsets/isthmus")

    def test_the_server_takes_every_object(self):
        for name, values in [(path, path) for path in VALUES] + list(SETS.items()):
            with self.subTest(name):
                namespace = "isthmus-system" if values is ALL else "kube-system"
                text = self.template(values, "--namespace", namespace).stdout
                path = os.path.join(self.folder, "rendered.yaml")
                with open(path, "w", encoding="utf-8") as file:
                    file.write(text)
                if values is ALL:
                    self.kubectl("create", "namespace", namespace)
                self.kubectl("apply", "--server-side", "--validate=strict", "--force-conflicts", "--filename", path)
                self.kubectl("delete", "--wait=false", "--filename", path)

    def test_the_server_takes_names_that_are_odd(self):
        path = os.path.join(self.folder, "odd.yaml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(self.helm("template", "1e3", CHART, "--namespace", "123", "--values",
                                 self.values({**ODD, "fullnameOverride": "true"})).stdout)
        self.kubectl("create", "namespace", "123")
        self.kubectl("apply", "--server-side", "--validate=strict", "--force-conflicts", "--filename", path)
        self.assertIsNotNone(self.hub.request("GET", "/apis/isthmus.io/v1alpha1/gateways/12e3"))
        self.kubectl("delete", "--wait=false", "--filename", path)

    def test_the_server_takes_the_manifests(self):
        for path in sorted(glob.glob(os.path.join(PACKAGING, "manifests", "*.yaml"))):
            with self.subTest(os.path.basename(path)):
                self.kubectl("apply", "--server-side", "--validate=strict", "--filename", path)
                if not path.endswith("crds.yaml"):
                    self.kubectl("delete", "--wait=false", "--filename", path)

    def test_the_server_takes_the_names_of_a_long_release(self):
        path = os.path.join(self.folder, "long.yaml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(self.helm("template", "gateways.of-a-cluster-that-is-named-as-its-region", CHART,
                                 "--namespace", "kube-system", "--values", self.values(merged(EAST, {
                                     "config": {"metrics": {"address": "0.0.0.0"}},
                                     "metrics": {"service": True}}))).stdout)
        self.kubectl("apply", "--server-side", "--validate=strict", "--filename", path)
        self.kubectl("delete", "--wait=false", "--filename", path)

    def run_commands(self, text):
        """Commands of packaging/README.md, as a user runs them."""
        programs = os.path.join(self.folder, "bin")
        os.makedirs(programs, exist_ok=True)
        if not os.path.exists(os.path.join(programs, "helm")):
            os.symlink(self.helm_program, os.path.join(programs, "helm"))
        environment = {**os.environ, "KUBECONFIG": self.hub.kubeconfig, "PATH": f"{programs}:{os.environ['PATH']}"}
        done = subprocess.run(["bash", "-euxc", text], cwd=ROOT, env=environment, capture_output=True, text=True,
                              check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def test_the_documents_commands(self):
        self.assertIn("east-a", self.run_commands(block("k8s-install")))
        before = self.daemon_set()["spec"]["template"]
        self.run_commands(block("k8s-upgrade"))
        self.assertEqual(self.daemon_set()["spec"]["template"], before, "rolled back")
        self.run_commands(block("k8s-remove"))
        self.assertIsNone(self.daemon_set())
        self.run_commands(block("k8s-manifests"))
        self.assertEqual(self.daemon_set()["spec"]["template"]["spec"], before["spec"])
        self.kubectl("delete", "--wait=false", "--filename", os.path.join(PACKAGING, "manifests", "cluster.yaml"))

    def test_installed_upgraded_rolled_back_and_removed(self):
        values = VALUES[0]
        where = ("--namespace", "kube-system")
        install = ("upgrade", "--install", "isthmus", CHART, *where, "--values", values)
        self.on_server(*install)
        first = self.daemon_set()["spec"]["template"]
        self.on_server(*install, "--set", "config.engine.workers=2", "--set", "image.tag=0.2.0")
        second = self.daemon_set()["spec"]["template"]
        self.assertEqual(second["spec"]["containers"][0]["image"], "isthmus:0.2.0")
        checksum = "checksum/config"
        self.assertNotEqual(first["metadata"]["annotations"][checksum], second["metadata"]["annotations"][checksum])
        self.on_server("rollback", "isthmus", "1", *where)
        self.assertEqual(self.daemon_set()["spec"]["template"], first)
        self.on_server("uninstall", "isthmus", *where)
        self.assertIsNone(self.hub.request("GET", "/api/v1/namespaces/kube-system/configmaps/isthmus"))
        # The definitions stay, and with them the objects of the fleet that are not the chart's.
        self.assertIsNotNone(self.hub.request("GET", "/apis/isthmus.io/v1alpha1/gateways"))


if __name__ == "__main__":
    unittest.main()
