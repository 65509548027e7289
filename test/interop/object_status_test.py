"""What gateways tell a kube-apiserver of its objects: status of our own kinds, Events about policies, and what kubectl
shows of both."""

import os
import shutil
import tempfile
import unittest

import api_extensions
import kube_apiserver
from status_daemon import EVENTS, STATUS, StatusFleet, enter

PROGRAM = os.environ.get("ISTHMUS_PROGRAM", os.path.join(
    os.environ.get("ISTHMUS_BUILD", os.path.join(api_extensions.HERE, "..", "..", "build")), "control", "cli",
    "isthmus"))


def ours(kind, name, **spec):
    return {"apiVersion": "isthmus.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def policy(name, rule):
    return {"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy",
            "metadata": {"name": name, "namespace": "shop"},
            "spec": {"endpointSelector": {"matchLabels": {"app": "web"}}, "ingress": [rule]}}


FLEET = (ours("Cluster", "east", id=1, podCIDRs=["10.1.0.0/16"], nodeCIDRs=["192.0.1.0/24"]),
         ours("Cluster", "west", id=2, podCIDRs=["10.2.0.0/16"], nodeCIDRs=["192.0.2.0/24"]),
         ours("Cluster", "twin", id=2, podCIDRs=["10.3.0.0/16"]),
         ours("Gateway", "east-1", cluster="east", underlayAddress="192.0.1.1"),
         ours("Gateway", "east-2", cluster="east", underlayAddress="192.0.1.2"),
         ours("Gateway", "west-1", cluster="west", underlayAddress="192.0.2.1"),
         ours("Gateway", "lost", cluster="nowhere", underlayAddress="192.0.2.9"),
         ours("CrossClusterNetworkProfile", "fleet", clusters=["east", "west"]))
NAMESPACE = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}
POLICIES = (policy("good", {"fromEndpoints": [{}]}),
            policy("partly", {"fromCIDRSet": [{"cidrGroupRef": "office"}]}),
            policy("refused", {"fromEndpoints": [{}], "toPorts": [{"ports": [{"port": "99999"}]}]}))


ACCEPTED = ("True", "Accepted")


def condition(conditions, kind="Accepted"):
    return next((one for one in conditions or [] if one["type"] == kind), None)


class ObjectStatus(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if not shutil.which("kubectl"):
            raise unittest.SkipTest("kubectl is not installed")
        programs = tempfile.TemporaryDirectory(prefix="ist-interop-")
        cls.addClassCleanup(programs.cleanup)
        server = kube_apiserver.build(programs.name)
        cls.addClassCleanup(enter, "/proc/self/ns/net" if not os.path.exists("/proc/1/ns/net") else "/proc/1/ns/net")
        cls.fleet = StatusFleet(server, PROGRAM)
        for space in cls.fleet.spaces:
            cls.addClassCleanup(space.remove)
        cls.addClassCleanup(shutil.rmtree, cls.fleet.folder, True)
        cls.addClassCleanup(cls.fleet.hub.close)
        cls.addClassCleanup(cls.fleet.proxy.close)
        cls.addClassCleanup(lambda: [daemon.stop(timeout=20) for daemon in cls.fleet.daemons.values()])
        cls.fleet.start_server()
        cls.fleet.apply(*FLEET, NAMESPACE)
        cls.fleet.apply(*POLICIES)
        for number in (1, 2):
            cls.fleet.start_gateway(number)

    def status(self, kind, name):
        return self.fleet.get(kind, name).get("status", {})

    def entries(self, kind, name):
        """(status, reason) by gateway."""
        rows = {row["name"]: condition(row.get("conditions")) for row in self.status(kind, name).get("gateways", [])}
        return {name: (row["status"], row["reason"]) for name, row in rows.items() if row}

    def summary(self, kind, name):
        found = condition(self.status(kind, name).get("conditions"))
        return (found["status"], found["reason"]) if found else None

    def wait(self, condition_holds, what):
        try:
            api_extensions.wait_for(condition_holds, what)
        except AssertionError as error:
            logs = "\n".join(daemon.log_tail(25) for daemon in self.fleet.daemons.values())
            raise AssertionError(f"{error}\n{logs}\n{self.fleet.kubectl('get', 'isthmus', '-o', 'yaml')[-6000:]}") \
                from error

    def wait_summary(self, kind, name, expected, gateways=None):
        """Those with an entry: by default both where they refuse anything, and none where they do not."""
        if gateways is None:
            gateways = () if expected == ACCEPTED else ("east-1", "east-2")
        self.wait(lambda: self.summary(kind, name) == expected and
                  self.entries(kind, name) == {gateway: expected for gateway in gateways}, f"{kind} {name} {expected}")

    def test_each_gateway_says_what_it_refuses_and_one_what_all_accept_and_kubectl_shows_it(self):
        self.wait_summary("cluster", "east", ACCEPTED)
        self.wait_summary("gateway", "east-1", ACCEPTED, ("east-1",))
        self.wait_summary("gateway", "lost", ("False", "Refused"))
        self.wait_summary("crossclusternetworkprofile", "fleet", ACCEPTED)
        self.wait(lambda: any(self.summary("cluster", name) == ("False", "Refused") for name in ("west", "twin")) and
                  self.summary("gateway", "west-1") is not None, "what becomes of the other cluster")
        refused = next(name for name in ("west", "twin") if self.summary("cluster", name) == ("False", "Refused"))
        message = condition(self.status("cluster", refused)["conditions"])["message"]
        self.assertIn("id 2", message)
        gateway = self.status("gateway", "east-1")
        ready = condition(gateway["conditions"], "Ready")
        self.assertEqual((ready["status"], ready["reason"], gateway["workers"]), ("True", "Serving", 1))
        self.assertIn("which is missing or invalid", condition(self.status("gateway", "lost")["conditions"])["message"])
        self.assertIsNone(condition(self.status("gateway", "west-1")["conditions"], "Ready"))  # it writes elsewhere
        table = self.fleet.kubectl("get", "igw")
        row = next(line for line in table.splitlines() if line.startswith("east-1 "))
        self.assertRegex(row, r"^east-1 +east +192\.0\.1\.1 +True +True +Accepted +\S+ +\d+ ")
        self.assertRegex(self.fleet.kubectl("get", "isthmus"),
                         r"gateway\S*/lost +nowhere +192\.0\.2\.9 +False +Refused ")

    def test_nothing_is_written_where_nothing_has_changed_and_a_change_is(self):
        self.wait_summary("crossclusternetworkprofile", "fleet", ACCEPTED)
        self.wait_summary("cluster", "east", ACCEPTED)
        before = self.fleet.get("cluster", "east")["metadata"]["resourceVersion"]
        profile = ours("CrossClusterNetworkProfile", "fleet", clusters=["east", "west", "north"])
        self.fleet.apply(profile)
        self.wait_summary("crossclusternetworkprofile", "fleet", ("True", "PartlyRefused"))
        found = self.fleet.get("crossclusternetworkprofile", "fleet")
        accepted = condition(found["status"]["conditions"])
        self.assertEqual(accepted["observedGeneration"], found["metadata"]["generation"])
        self.assertIn("names cluster north, which has no Cluster object", accepted["message"])
        self.fleet.apply(FLEET[-1])
        self.wait_summary("crossclusternetworkprofile", "fleet", ACCEPTED)
        self.assertEqual(self.fleet.get("cluster", "east")["metadata"]["resourceVersion"], before)

    def test_a_policy_that_is_refused_has_one_event_that_names_the_rule_and_the_remedy(self):
        def events(name):
            return self.fleet.kubectl("events", "-n", "shop", "--for", f"ciliumnetworkpolicy/{name}", "--no-headers",
                                      check=False)
        self.wait(lambda: "PolicyPartlyRefused" in events("partly") and "PolicyRefused" in events("refused"), "events")
        self.assertRegex(events("partly"), r"Warning +PolicyPartlyRefused .*CiliumCIDRGroup office.*create the group")
        self.assertRegex(events("refused"), r"Warning +PolicyRefused .*toPorts.*99999")
        self.assertNotIn("Policy", events("good"))
        # Both gateways have it as a problem, and the later of the two has asked for the same Event by now.
        self.wait(lambda: all(any("office" in problem for problem in self.fleet.problems(name))
                              for name in ("east-1", "east-2")), "the problem in both")
        self.wait_summary("cluster", "east", ACCEPTED)
        self.assertEqual(len(events("partly").strip().splitlines()), 1, events("partly"))

    def test_a_right_that_is_missing_is_listed_and_costs_nothing_else(self):
        self.wait_summary("cluster", "east", ACCEPTED)
        for role in (STATUS, EVENTS):
            self.fleet.kubectl("delete", "clusterrolebinding", role)
            self.addCleanup(self.fleet.bind, role)
        self.fleet.apply(ours("Cluster", "north", id=4, podCIDRs=["10.4.0.0/16"]),
                         policy("later", {"fromCIDRSet": [{"cidrGroupRef": "later"}]}))
        self.addCleanup(self.fleet.kubectl, "delete", "cluster", "north")
        self.addCleanup(self.fleet.kubectl, "delete", "-n", "shop", "ciliumnetworkpolicy", "later")
        rights = ("patch on clusters/status of isthmus.io", "create on events of events.k8s.io")
        self.wait(lambda: all(f"(grant {right} in a ClusterRole)" in " ".join(self.fleet.problems("east-1"))
                              for right in rights),
                  "the rights are named")
        self.assertEqual(self.fleet.ask("east-1", {"command": "status"})["status"]["state"], "serving")

    def forbid_status_of(self, *names):
        """An admission policy's word against the status of those Clusters, from when it is in force."""
        policies = "admissionregistration.k8s.io/v1"
        self.fleet.apply(
            {"apiVersion": policies, "kind": "ValidatingAdmissionPolicy", "metadata": {"name": "freeze"},
             "spec": {"failurePolicy": "Fail",
                      "matchConstraints": {"resourceRules": [
                          {"apiGroups": ["isthmus.io"], "apiVersions": ["*"], "operations": ["UPDATE"],
                           "resources": ["clusters/status"]}]},
                      "validations": [{"expression": f"!(object.metadata.name in {list(names)})",
                                       "message": "this object cannot be changed", "reason": "Forbidden"}]}},
            {"apiVersion": policies, "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": "freeze"},
             "spec": {"policyName": "freeze", "validationActions": ["Deny"]}})

        def is_in_force():
            try:
                self.fleet.hub.request("PATCH", f"/apis/isthmus.io/v1alpha1/clusters/{names[0]}/status?dryRun=All",
                                       {"status": {}}, "application/merge-patch+json")
                return False
            except RuntimeError as refusal:
                return "this object cannot be changed" in str(refusal)
        self.wait(is_in_force, "the admission policy is in force")

    def permit_status(self):
        self.fleet.kubectl("delete", "--ignore-not-found",
                           "validatingadmissionpolicybinding,validatingadmissionpolicy", "freeze")

    def test_an_object_that_admission_forbids_holds_up_no_other_and_is_no_worse_for_it(self):
        self.wait_summary("cluster", "east", ACCEPTED)
        self.addCleanup(self.permit_status)
        self.forbid_status_of("east", "frozen")
        self.fleet.apply(ours("Cluster", "frozen", id=11, podCIDRs=["10.11.0.0/16"]),
                         ours("Cluster", "thawed", id=12, podCIDRs=["10.12.0.0/16"]))
        self.addCleanup(self.fleet.kubectl, "delete", "cluster", "frozen", "thawed")
        self.wait_summary("cluster", "thawed", ACCEPTED)

        def unwritten():
            return [problem for name in ("east-1", "east-2") for problem in self.fleet.problems(name)
                    if "Cluster frozen cannot be written: HTTP 403" in problem]
        self.wait(unwritten, "what cannot be written is listed")
        self.assertRegex(unwritten()[0], r"cannot be changed.* \(let the API server's admission policies")
        self.permit_status()
        try:
            self.wait_summary("cluster", "frozen", ACCEPTED)
        except AssertionError:  # that took a minute, and it is asked for again after one
            self.wait_summary("cluster", "frozen", ACCEPTED)
        self.wait(lambda: not unwritten(), "and no longer")

    def test_probes_name_what_is_missing(self):
        self.wait_summary("cluster", "east", ACCEPTED)
        self.assertEqual(self.fleet.page(1, "/readyz"), (200, "ok"))
        status, body = self.fleet.page(1, "/readyz?verbose")
        self.assertEqual((status, body.splitlines()[-1]), (200, "readyz check passed"))
        self.assertIn("[+]own-objects ok", body)
        self.assertEqual(self.fleet.page(1, "/livez")[0], 200)
        self.assertEqual(self.fleet.page(1, "/livez?exclude=nothing")[0], 200)
        self.fleet.ask("east-1", {"command": "drain"})
        self.addCleanup(self.fleet.ask, "east-1", {"command": "drain", "undo": True})
        status, body = self.fleet.page(1, "/readyz")
        self.assertEqual(status, 503)
        self.assertIn("[-]draining failed: ", body)
        self.assertEqual(self.fleet.page(1, "/livez")[0], 200)
        self.wait(lambda: condition(self.status("gateway", "east-1")["conditions"], "Ready")["reason"] == "Draining",
                  "the object says so")
        self.fleet.ask("east-1", {"command": "drain", "undo": True})
        self.wait(lambda: condition(self.status("gateway", "east-1")["conditions"], "Ready")["reason"] == "Serving",
                  "and no longer")

    def put_status(self, name, gateways):
        """Into a Cluster, in the name of no gateway, as a backup that is restored does."""
        self.fleet.hub.request("PATCH", f"/apis/isthmus.io/v1alpha1/clusters/{name}/status?fieldManager=backup",
                               {"status": {"gateways": gateways}}, "application/merge-patch+json")

    def test_z_a_gateway_that_is_gone_has_no_say(self):
        profile = ours("CrossClusterNetworkProfile", "fleet", clusters=["east", "west", "north"])
        self.fleet.apply(profile)
        self.wait_summary("crossclusternetworkprofile", "fleet", ("True", "PartlyRefused"))
        self.fleet.daemons["east-2"].stop(timeout=20)
        self.fleet.kubectl("delete", "gateway", "east-2")
        refused = {"type": "Accepted", "status": "False", "reason": "Refused", "message": "of a gateway that was",
                   "lastTransitionTime": "2026-11-30T00:00:00Z", "observedGeneration": 1}
        self.put_status("east", [{"name": "east-9", "conditions": [refused]}])
        for kind, name, expected, gateways in (
                ("crossclusternetworkprofile", "fleet", ("True", "PartlyRefused"), ("east-1",)),
                ("cluster", "east", ACCEPTED, ())):  # removed, whoever owns it
            try:
                self.wait_summary(kind, name, expected, gateways)
            except AssertionError:  # that took a minute; entries are removed after one, and some
                self.wait_summary(kind, name, expected, gateways)
        self.fleet.apply(FLEET[-1])
        self.wait_summary("crossclusternetworkprofile", "fleet", ACCEPTED)


if __name__ == "__main__":
    unittest.main()
