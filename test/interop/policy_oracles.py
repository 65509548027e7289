"""Asks the engine and the oracles about one case of policies, and shrinks a case on which they differ."""

import copy
import json
import subprocess

from policy_cases import fleet_manifest, manifest


class Program:
    """Answers one line of JSON by one line."""

    def __init__(self, *command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, question):
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args[0]} exited with {self.process.wait()}")
        return json.loads(line)

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=60)
        self.process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def for_engine(case):
    """The case as policy_answers.cc takes it: one file a policy, by its name."""
    files = [[file_of(policy), "east", manifest([policy])] for policy in case["policies"]]
    files.append(["groups.yaml", "east", manifest(case["groups"])])
    files += [["fleet.yaml", cluster, fleet_manifest(case["fleet"], cluster)] for cluster in ("west", "east")]
    parties = [{"cluster": who["cluster"], "address": who["address"], "identity": who["identity"],
                "node": who["kind"] == "node"} for who in case["fleet"]]
    return {"files": files, "parties": parties, "packets": case["packets"]}


def file_of(policy):
    return f"policy-{policy['metadata']['name']}.yaml"


def refused_policies(case, answer):
    """The positions of the policies that the engine's side refuses, with the reasons."""
    positions = {file_of(policy): at for at, policy in enumerate(case["policies"])}
    if not set(answer["refused"]) <= set(positions):
        raise RuntimeError(f"refused: {answer['refused']}")
    return {positions[name]: why for name, why in answer["refused"].items()}


class Difference(Exception):
    """What differs, for display, and the cases up to the one where it does."""

    def __init__(self, what, cases):
        super().__init__(what)
        self.cases = cases


def describe(case, at):
    source, to, protocol, port = case["packets"][at]

    def name(index):
        who = case["fleet"][index]
        return f"{who['cluster']}/{who['name']} {who['address']} {who['labels']} {who['tcp']} {who['udp']}"
    return f"{name(source)}\n-> {name(to)}\nprotocol {protocol} port {port}"


def shrink(cases, differs):
    """What is left of the cases, one after the other, as long as `differs(cases)` holds, which is of the last one: of
    the cases before it, and in all of them of policies, rules and single values; one packet of the last."""
    cases = shorter(copy.deepcopy(cases), differs)
    for packet in cases[-1]["packets"]:
        trial = [*cases[:-1], cases[-1] | {"packets": [packet]}]
        if differs(trial):
            cases = trial
            break
    smaller = True
    while smaller:
        smaller = False
        for path in [(at, *path) for at, case in enumerate(cases) for path in paths(case["policies"])]:
            trial = copy.deepcopy(cases)
            remove(trial[path[0]]["policies"], path[1:])
            if differs(trial):
                cases, smaller = trial, True
                break
    return cases


def shorter(cases, differs):
    """Leaves out cases before the last one: half of them, then a quarter, down to single ones."""
    size = len(cases) - 1
    while size:
        at = 0
        while at < len(cases) - 1:
            trial = cases[:at] + cases[min(at + size, len(cases) - 1):]
            if differs(trial):
                cases = trial
            else:
                at += size
        size //= 2
    return cases


KEEP = {"apiVersion", "kind", "metadata", "endpointSelector", "podSelector", "key", "operator"}


def paths(value, at=()):
    """The paths of all parts of a JSON value that can be left out, larger parts first."""
    items = []
    if isinstance(value, (dict, list)):
        items = list(value.items() if isinstance(value, dict) else enumerate(value))
    for key, _ in items:
        if key not in KEEP:
            yield (*at, key)
    for key, inner in items:
        if key not in ("apiVersion", "kind", "metadata"):
            yield from paths(inner, (*at, key))


def remove(value, path):
    for key in path[:-1]:
        value = value[key]
    del value[path[-1]]
