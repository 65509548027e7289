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
    """The case as policy_answers.cc takes it: one file a policy, named by its position."""
    files = [[f"policy-{i}.yaml", "east", manifest([policy])] for i, policy in enumerate(case["policies"])]
    files.append(["groups.yaml", "east", manifest(case["groups"])])
    files += [["fleet.yaml", cluster, fleet_manifest(case["fleet"], cluster)] for cluster in ("west", "east")]
    parties = [{"cluster": who["cluster"], "address": who["address"], "identity": who["identity"],
                "node": who["kind"] == "node"} for who in case["fleet"]]
    return {"files": files, "parties": parties, "packets": case["packets"]}


def refused_policies(answer):
    """The positions of the policies that the engine's side refuses, with the reasons."""
    other = [name for name in answer["refused"] if not name.startswith("policy-")]
    if other:
        raise RuntimeError(f"refused: {answer['refused']}")
    return {int(name[len("policy-"):-len(".yaml")]): why for name, why in answer["refused"].items()}


class Difference(Exception):
    """What differs, for display, and the case."""

    def __init__(self, what, case):
        super().__init__(what)
        self.case = case


def describe(case, at):
    source, to, protocol, port = case["packets"][at]

    def name(index):
        who = case["fleet"][index]
        return f"{who['cluster']}/{who['name']} {who['address']} {who['labels']} {who['tcp']} {who['udp']}"
    return f"{name(source)}\n-> {name(to)}\nprotocol {protocol} port {port}"


def shrink(case, differs):
    """Leaves out packets, policies, rules and single values of it as long as `differs(case)` holds."""
    case = copy.deepcopy(case)

    def attempt(edit):
        trial = copy.deepcopy(case)
        edit(trial)
        return trial if differs(trial) else None
    for at in range(len(case["packets"])):
        trial = attempt(lambda each, at=at: each.update(packets=[case["packets"][at]]))
        if trial:
            case = trial
            break
    smaller = True
    while smaller:
        smaller = False
        for path in list(paths(case["policies"])):
            trial = attempt(lambda each, path=path: remove(each["policies"], path))
            if trial:
                case, smaller = trial, True
                break
    return case


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
