"""Policy decisions held against independent programs: Cilium's own policy code, and Cyclonus for NetworkPolicy.

Random fleets, policies and packets (policy_cases.py), and changes of labels, identities, named ports, policies and CIDR
groups under tables that are in use. The engine, from manifest text to forwarded packets, and `policy trace` must both
let through what the other program does after each change; what that refuses, the gateway must refuse. A running gateway
that follows the same changes answers `isthmus policy trace` for some of the packets. ISTHMUS_SEED repeats a run, and
ISTHMUS_POLICY_PAIRS sets the number of packets for each program.
"""

import copy
import json
import os
import random
import sys
import tempfile
import unittest

import go_program
from policy_cases import CLUSTER, NAMESPACE, Fleet, Policies, packets
from policy_daemon import PolicyDaemon
from policy_oracles import Difference, Program, describe, for_engine, refused_policies, shrink

BUILD = os.environ.get("ISTHMUS_BUILD", "build")
PROGRAM = os.environ.get("ISTHMUS_PROGRAM", os.path.join(BUILD, "control", "cli", "isthmus"))
PAIRS = int(os.environ.get("ISTHMUS_POLICY_PAIRS", "12000"))
PACKETS_IN_CASE, PACKETS_AFTER_CHANGE = 120, 60
CHANGES_IN_CASE = 3
ASKED_OF_DAEMON = 8  # packets of a case, after a change of it
CASES_OF_ONE_ENGINE = 15  # with its connections; then another one starts, with another fleet


def cyclonus_can_judge(policy):
    """Cyclonus lets NotIn select only what has the label; by Kubernetes' documentation it also selects what lacks it.
    Every pod has "app", and every namespace "env"."""
    return '"key": "tier", "operator": "NotIn"' not in json.dumps(policy)


def peer_selectors(value):
    """Every selector of fromEndpoints and toEndpoints in the policies."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from inner if key in ("fromEndpoints", "toEndpoints") else peer_selectors(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from peer_selectors(inner)


def selects_addresses(policies):
    """Whether a policy selects peers by what an address without labels does not have, which the gateway does not do:
    it knows the cluster of every address, and no more. Cilium takes it for known that there is no label."""
    return any(each["operator"] in ("NotIn", "DoesNotExist", "Exists") and each["key"] != CLUSTER
               for selector in peer_selectors(policies) for each in selector.get("matchExpressions", []))


def keys_of(selector):
    return {*selector.get("matchLabels", {}), *(each["key"] for each in selector.get("matchExpressions", []))}


def selects_pods(policies):
    """Whether a clusterwide policy selects peers by cluster and not by namespace, which is pods alone (Cilium's parser
    adds that they have a namespace). The gateway knows that an address without labels, which the hub has as a Pod, is
    one; Cilium's agents know nothing of it."""
    return any(CLUSTER in keys_of(selector) and NAMESPACE not in keys_of(selector)
               for selector in peer_selectors([each for each in policies
                                               if each["kind"] == "CiliumClusterwideNetworkPolicy"]))


def selects_hosts(policies):
    """Whether a selector has nothing of a namespace and cluster but that they are not some: Cilium's code selects hosts
    and the world by it too, the gateway what its documentation says of fromEndpoints, endpoints."""
    def expressions(selector, key):
        return [each["operator"] for each in selector.get("matchExpressions", []) if each["key"] == key]

    def lacks(selector, key):
        return key not in selector.get("matchLabels", {}) and not {"In", "Exists"} & set(expressions(selector, key))
    return any(lacks(selector, CLUSTER) and lacks(selector, NAMESPACE) and expressions(selector, CLUSTER)
               for selector in peer_selectors(policies))


def opens_own_namespace(policies, ends):
    """Cilium's parser (parseNetworkPolicyPeer, as it is called for ingress) takes an ipBlock in a NetworkPolicy's from
    for all pods of its namespace too."""
    return any(policy["kind"] == "NetworkPolicy"
               and all(who["cluster"] == "east" and who["labels"].get(NAMESPACE) == policy["metadata"]["namespace"]
                       for who in ends)
               and any("ipBlock" in peer for rule in policy["spec"].get("ingress", []) for peer in rule.get("from", []))
               for policy in policies)


def names_world(policies):
    """To the gateway an address of a cluster's prefixes is not of the world, labels or not; to Cilium it is without."""
    return '"world"' in json.dumps(policies)


class Comparison:
    """The engine's side and the program `oracle` over one stream of random cases."""

    def __init__(self, oracle, command, daemon):
        self.engine, self.oracle, self.command, self.daemon = None, oracle, command, daemon
        self.cases = []  # that the engine has had
        self.compared = self.asked = self.sent = self.passed = self.other = self.refused = 0

    def use(self, engine):
        self.engine, self.other, self.cases = engine, 0, []

    def check(self, case, asked=0):
        """Compares the case; once more without the policies that both refuse, of which the gateway does a part. Of the
        packets that are compared with the oracle the daemon is asked about `asked`."""
        self.cases.append(copy.deepcopy(case))
        engine, oracle = self.engine.ask(for_engine(case)), self.oracle.ask(case)
        difference = self.difference(case, engine, oracle)
        if difference:
            raise Difference(difference, self.cases)
        refused = refused_policies(case, engine)
        if refused:
            self.refused += len(refused)
            policies = [policy for at, policy in enumerate(case["policies"]) if at not in refused]
            self.check(case | {"policies": policies}, asked)
            return
        self.sent += len(case["packets"])
        self.passed += engine["engine"].count("1")
        if asked:
            self.ask_daemon(case, oracle, asked)

    def ask_daemon(self, case, oracle, count):
        self.daemon.tell(case)
        for at, packet in [each for each in enumerate(case["packets"]) if not self.is_known(case, each[1])][:count]:
            answers = [self.daemon.passes(case, packet), oracle["verdicts"][at]]
            self.asked += 1
            if len(set(answers)) > 1:
                raise Difference(f"daemon's trace, oracle: {', '.join(answers)} for\n{describe(case, at)}", self.cases)

    def difference(self, case, engine, oracle):
        """What differs, or None."""
        if "fault" in oracle:
            return f"the oracle fails: {oracle['fault']}"
        refused = refused_policies(case, engine)
        for at, why in (oracle.get("refused") or {}).items():
            if int(at) not in refused:
                return f"not refused: {case['policies'][int(at)]}: {why}"
        if engine["other"] != self.other:
            self.other = engine["other"]
            return "packets were dropped for another reason than policy"
        for at, packet in enumerate(case["packets"]):
            answers = {"engine": engine["engine"][at], "trace": engine["trace"][at]}
            if not refused and not self.is_known(case, packet):
                answers["oracle"] = oracle["verdicts"][at]
                self.compared += 1
            if len(set(answers.values())) > 1:
                return f"{', '.join(answers)}: {', '.join(answers.values())} for\n{describe(case, at)}"
        if refused and len(refused) > len(oracle.get("refused") or {}):
            return f"refused by the gateway alone: {refused}"
        return None

    @staticmethod
    def is_known(case, packet):
        """Whether a decided difference or a fault of the oracle may concern the packet."""
        ends = [case["fleet"][index] for index in packet[:2]]
        return (any(who["kind"] == "address" for who in ends) and (
                    selects_addresses(case["policies"]) or selects_pods(case["policies"])
                    or names_world(case["policies"]))
                or any(who["kind"] == "node" for who in ends) and selects_hosts(case["policies"])
                or opens_own_namespace(case["policies"], ends))

    def differs(self, cases, what):
        """Whether a fresh engine that has had all of these differs as `what` says in the last; used to shrink."""
        try:
            return (self.fresh_difference(cases) or "").startswith(what)
        except (KeyError, RuntimeError):
            return False

    def fresh_difference(self, cases):
        with Program(*self.command) as engine, Program(self.oracle.process.args[0]) as oracle:
            for case in cases:
                answer = engine.ask(for_engine(case))
            self.other = answer["other"]
            return self.difference(cases[-1], answer, oracle.ask(cases[-1]))


class PolicyTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.programs = tempfile.TemporaryDirectory(prefix="ist-interop-")
        cls.addClassCleanup(cls.programs.cleanup)
        if os.geteuid() != 0:
            raise unittest.SkipTest("needs root")
        cls.daemon = PolicyDaemon(PROGRAM)
        cls.addClassCleanup(cls.end_daemon)
        cls.daemon.start()

    @classmethod
    def end_daemon(cls):
        status, log = cls.daemon.close()
        if status != 0:
            raise AssertionError(f"the gateway exited with status {status}\n{log}")

    def compare(self, program, kinds, can_judge=lambda policy: True):
        seed = int(os.environ.get("ISTHMUS_SEED") or random.SystemRandom().randrange(2**32))
        print(f"ISTHMUS_SEED={seed} ISTHMUS_POLICY_PAIRS={PAIRS}", flush=True)
        choices = random.Random(seed)
        command = (os.path.join(BUILD, "test", "interop", "policy-answers"),)
        number = engines = 0
        with Program(program) as oracle:
            comparison = Comparison(oracle, command, self.daemon)
            while comparison.compared < PAIRS:
                fleet = Fleet(choices)
                with Program(*command) as engine:
                    comparison.use(engine)
                    engines += 1
                    for _ in range(CASES_OF_ONE_ENGINE):
                        number += 1
                        self.compare_one(comparison, choices, fleet, Policies(choices, number, kinds, can_judge))
                        if comparison.compared >= PAIRS:
                            break
        sent = comparison.sent
        print(f"{number} cases, {engines} engines, {comparison.compared} pairs compared and equal,"
              f" {comparison.asked} of the daemon's answers, {comparison.passed} of {sent} packets passed,"
              f" {comparison.refused} policies refused", flush=True)
        self.assertTrue(sent / 20 < comparison.passed < sent - sent / 20, "too few of one verdict to compare anything")

    def compare_one(self, comparison, choices, fleet, policies):
        try:
            fleet.change()
            comparison.check(self.case(choices, fleet, policies, PACKETS_IN_CASE))
            for left in reversed(range(CHANGES_IN_CASE)):
                changed = choices.choice((fleet, fleet, policies)).change()
                comparison.check(self.case(choices, fleet, policies, PACKETS_AFTER_CHANGE, changed),
                                 0 if left else ASKED_OF_DAEMON)
        except Difference as difference:
            self.fail(self.report(comparison, difference, policies.number))

    @staticmethod
    def case(choices, fleet, policies, count, changed=()):
        return {"fleet": copy.deepcopy(fleet.parties), "policies": list(policies.policies),
                "groups": list(policies.groups), "packets": packets(choices, fleet.parties, count, changed)}

    @staticmethod
    def report(comparison, difference, number):
        cases, what = difference.cases, str(difference)
        kind = what.split(":")[0]
        if kind.startswith("engine") and comparison.differs(cases, kind):
            cases = shrink(cases, lambda each: comparison.differs(each, kind))
            what = comparison.fresh_difference(cases)
        lines = [f"case {number}, {len(cases) - 1} before it: {what}"]
        before = None
        for case in cases if len(cases) < 4 else cases[-1:]:
            lines.append("these:")
            lines += [json.dumps(each) for each in [*case["policies"], *case["groups"]]]
            lines += [json.dumps(who) for who in case["fleet"] if before and who not in before]
            before = case["fleet"]
        return "\n".join(lines)

    def test_decides_as_ciliums_policy_code_does(self):
        program = go_program.build(self.programs.name, "cilium-policy", "cilium", "./policy")
        self.compare(program, ("CiliumNetworkPolicy", "CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy",
                               "NetworkPolicy"))

    def test_decides_network_policies_as_cyclonus_does(self):
        self.compare(go_program.build(self.programs.name, "cyclonus-policy", "cyclonus"), ("NetworkPolicy",),
                     cyclonus_can_judge)


if __name__ == "__main__":
    sys.exit(unittest.main())
