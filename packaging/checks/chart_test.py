"""The chart and the manifests, without Helm: what follows from other files is up to date, and the gateway's program
takes every configuration in them. What needs Helm is in test/interop/chart_test.py."""

import glob
import json
import os
import subprocess
import tempfile
import unittest

import yaml

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAM = os.environ.get("ISTHMUS_PROGRAM", os.path.join(ROOT, "build", "control", "cli", "isthmus"))
CHART = os.path.join(ROOT, "packaging", "helm", "isthmus")
MANIFESTS = sorted(glob.glob(os.path.join(ROOT, "packaging", "manifests", "*.yaml")))


def documents(path):
    with open(path, encoding="utf-8") as file:
        return [document for document in yaml.safe_load_all(file) if document]


def of_kind(objects, kind):
    return [one for one in objects if one["kind"] == kind]


class Chart(unittest.TestCase):
    def test_schema_and_table_follow_from_values_and_reference(self):
        done = subprocess.run([os.path.join(ROOT, "packaging", "helm", "generate"), "--check"], capture_output=True,
                              text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_it_has_the_programs_version(self):
        with open(os.path.join(CHART, "Chart.yaml"), encoding="utf-8") as file:
            chart = yaml.safe_load(file)
        version = subprocess.run([PROGRAM, "version"], capture_output=True, text=True, check=True).stdout.split()[1]
        self.assertEqual(chart["appVersion"], version)

    def test_the_schema_has_every_key_of_the_program(self):
        """The keys that `config check` prints for a configuration without any of them set."""
        with open(os.path.join(CHART, "values.schema.json"), encoding="utf-8") as file:
            config = json.load(file)["properties"]["config"]
        done = subprocess.run([PROGRAM, "config", "check", "--name", "east-a", self.rendered("file.yaml")],
                              capture_output=True, text=True, check=True)
        keys = [line.split(":")[0] for line in done.stdout.splitlines() if not line.startswith("#")][1:]
        self.assertIn("engine.workers", keys)
        for key in keys:
            at = config
            for word in key.split("."):
                at = at["properties"].get(word)
                if at is None:
                    break
            self.assertEqual(at is None, key == "gateway.name", key)

    def rendered(self, name):
        """A file with the configuration in that manifest."""
        objects = of_kind(documents(os.path.join(ROOT, "packaging", "manifests", name)), "ConfigMap")
        text = next(one["data"]["gateway.yaml"] for one in objects if "gateway.yaml" in one["data"])
        file = tempfile.NamedTemporaryFile("w", suffix=".yaml", delete=False)  # noqa: SIM115  (removed at the end)
        self.addCleanup(os.remove, file.name)
        with file:
            file.write(text)
        return file.name

    def test_the_program_takes_every_rendered_configuration(self):
        gateways = [path for path in MANIFESTS if of_kind(documents(path), "DaemonSet")]
        self.assertGreaterEqual(len(gateways), 4)
        for path in gateways:
            with self.subTest(os.path.basename(path)):
                done = subprocess.run([PROGRAM, "config", "check", "--name", "east-a", self.rendered(path)],
                                      capture_output=True, text=True, check=False)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertIn("gateway.name: east-a\n", done.stdout)

    def test_a_pod_has_no_more_than_it_needs(self):
        for path in MANIFESTS:
            for daemon_set in of_kind(documents(path), "DaemonSet"):
                with self.subTest(os.path.basename(path)):
                    pod = daemon_set["spec"]["template"]["spec"]
                    security = pod["containers"][0]["securityContext"]
                    self.assertTrue(security["readOnlyRootFilesystem"])
                    self.assertFalse(security["privileged"] or security["allowPrivilegeEscalation"])
                    self.assertEqual(security["capabilities"], {
                        "drop": ["ALL"], "add": ["NET_ADMIN", "NET_RAW", "BPF", "PERFMON", "IPC_LOCK"]})
                    self.assertEqual(pod["automountServiceAccountToken"],
                                     bool(of_kind(documents(path), "ClusterRole")))

    def test_no_role_writes_or_takes_all(self):
        for path in MANIFESTS:
            for role in of_kind(documents(path), "ClusterRole") + of_kind(documents(path), "Role"):
                for rule in role["rules"]:
                    self.assertNotIn("*", rule["apiGroups"] + rule["resources"] + rule["verbs"])
                    self.assertNotIn("secrets", rule["resources"])
                    if set(rule["verbs"]) - {"get", "list", "watch"}:
                        self.assertTrue(all(resource.endswith("/status") or resource == "events"
                                            for resource in rule["resources"]), rule)


if __name__ == "__main__":
    unittest.main()
