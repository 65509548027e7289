"""Policy decisions held against independent programs: Cilium's own policy code, and Cyclonus for NetworkPolicy.

Random fleets, policies and packets (policy_cases.py). The engine, from manifest text to forwarded packets, and `policy
trace` must both let through what the other program does; what that refuses, the gateway must refuse. ISTHMUS_SEED
repeats a run, and ISTHMUS_POLICY_PAIRS sets the number of packets for each program.
"""

import json
import os
import random
import sys
import tempfile
import unittest

import go_program
from policy_cases import CLUSTER, NAMESPACE, Fleet, Policies, packets
from policy_oracles import Difference, Program, describe, for_engine, refused_policies, shrink

BUILD = os.environ.get("ISTHMUS_BUILD", "build")
PAIRS = int(os.environ.get("ISTHMUS_POLICY_PAIRS", "12000"))
PACKETS_IN_CASE = 240
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

    def __init__(self, oracle, command):
        self.engine, self.oracle, self.command = None, oracle, command
        self.compared = self.sent = self.passed = self.other = self.refused = 0

    def use(self, engine):
        self.engine, self.other = engine, 0

    def check(self, case):
        """Compares the case; once more without the policies that both refuse, of which the gateway does a part."""
        engine, oracle = self.engine.ask(for_engine(case)), self.oracle.ask(case)
        difference = self.difference(case, engine, oracle)
        if difference:
            raise Difference(difference, case)
        refused = refused_policies(engine)
        if refused:
            self.refused += len(refused)
            policies = [policy for at, policy in enumerate(case["policies"]) if at not in refused]
            self.check(case | {"policies": policies})
            return
        self.sent += len(case["packets"])
        self.passed += engine["engine"].count("1")

    def difference(self, case, engine, oracle):
        """What differs, or None."""
        if "fault" in oracle:
            return f"the oracle fails: {oracle['fault']}"
        refused = refused_policies(engine)
        for at, why in (oracle.get("refused") or {}).items():
            if int(at) not in refused:
                return f"not refused: {case['policies'][int(at)]}: {why}"
        if engine["other"] != self.other:
            self.other = engine["other"]
            return "packets were dropped for another reason than policy"
        for at, packet in enumerate(case["packets"]):
            answers = [engine["engine"][at], engine["trace"][at], oracle["verdicts"][at]]
            if refused or self.is_known(case, packet):
                answers.pop()
            else:
                self.compared += 1
            if len(set(answers)) > 1:
                return f"engine, trace, oracle: {answers} for\n{describe(case, at)}"
        if refused and len(refused) > len(oracle.get("refused") or {}):
            return f"refused by the gateway alone: {refused}"
        return None

    @staticmethod
    def is_known(case, packet):
        """Whether a decided difference or a fault of the oracle may concern the packet."""
        ends = [case["fleet"][index] for index in packet[:2]]
        return (any(who["kind"] == "address" for who in ends) and (
                    selects_addresses(case["policies"]) or names_world(case["policies"]))
                or any(who["kind"] == "node" for who in ends) and selects_hosts(case["policies"])
                or opens_own_namespace(case["policies"], ends))

    def differs_alone(self, case):
        """Whether a fresh engine differs from the oracle too; used to shrink."""
        try:
            return (self.fresh_difference(case) or "").startswith("engine, trace")
        except (KeyError, RuntimeError):
            return False

    def fresh_difference(self, case):
        with Program(*self.command) as engine, Program(self.oracle.process.args[0]) as oracle:
            answer = engine.ask(for_engine(case))
            self.other = answer["other"]
            return self.difference(case, answer, oracle.ask(case))


class PolicyTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.programs = tempfile.TemporaryDirectory(prefix="ist-interop-")
        cls.addClassCleanup(cls.programs.cleanup)

    def compare(self, program, kinds, can_judge=lambda policy: True):
        seed = int(os.environ.get("ISTHMUS_SEED") or random.SystemRandom().randrange(2**32))
        print(f"ISTHMUS_SEED={seed} ISTHMUS_POLICY_PAIRS={PAIRS}", flush=True)
        choices = random.Random(seed)
        fleet = Fleet(choices)
        command = (os.path.join(BUILD, "test", "interop", "policy-answers"),)
        number = engines = 0
        with Program(program) as oracle:
            comparison = Comparison(oracle, command)
            while comparison.compared < PAIRS:
                with Program(*command) as engine:
                    comparison.use(engine)
                    engines += 1
                    for _ in range(CASES_OF_ONE_ENGINE):
                        number += 1
                        self.compare_one(comparison, choices, fleet, number, kinds, can_judge)
                        if comparison.compared >= PAIRS:
                            break
                fleet = Fleet(choices)
        sent = comparison.sent
        print(f"{number} cases, {engines} engines, {comparison.compared} pairs compared and equal,"
              f" {comparison.passed} of {sent} packets passed, {comparison.refused} policies refused", flush=True)
        self.assertTrue(sent / 20 < comparison.passed < sent - sent / 20, "too few of one verdict to compare anything")

    def compare_one(self, comparison, choices, fleet, number, kinds, can_judge):
        fleet.change()
        made = Policies(choices, number, kinds)
        case = {"fleet": fleet.parties, "policies": list(filter(can_judge, made.policies)), "groups": made.groups,
                "packets": packets(choices, fleet.parties, PACKETS_IN_CASE)}
        try:
            comparison.check(case)
        except Difference as difference:
            self.fail(self.report(comparison, difference, number))

    @staticmethod
    def report(comparison, difference, number):
        case = difference.case
        if comparison.differs_alone(case):
            case = shrink(case, comparison.differs_alone)
            what = comparison.fresh_difference(case)
        else:
            what = f"{difference} (only after the cases before it)"
        return (f"case {number}: {what}\n" + "\n".join(json.dumps(each) for each in case["policies"])
                + "\n" + "\n".join(json.dumps(each) for each in case["groups"]))

    def test_decides_as_ciliums_policy_code_does(self):
        program = go_program.build(self.programs.name, "cilium-policy", "cilium", "./policy")
        self.compare(program, ("CiliumNetworkPolicy", "CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy",
                               "NetworkPolicy"))

    def test_decides_network_policies_as_cyclonus_does(self):
        self.compare(go_program.build(self.programs.name, "cyclonus-policy", "cyclonus"), ("NetworkPolicy",),
                     cyclonus_can_judge)


if __name__ == "__main__":
    sys.exit(unittest.main())
