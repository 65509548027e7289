#!/usr/bin/env python3
"""packaging/metrics.md: every metric with its meaning and its alerts, from the lists that the program is made from.

    packaging/alerts/reference.py > packaging/metrics.md
"""

import os
import re
from collections import namedtuple

import yaml

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
RULES = "packaging/alerts/isthmus.rules.yaml"
PAGE = "packaging/metrics.md"
COUNTERS, METRICS = "dataplane/stats/counters.def", "control/observe/metrics.def"
DROPS = "dataplane/stats/drop_reasons.def"

Metric = namedtuple("Metric", "name kind labels text hint")

HEAD = """# Metrics and alerts

Made by `packaging/alerts/reference.py` from `control/observe/metrics.def`, `dataplane/stats/counters.def` and
[`isthmus.rules.yaml`](alerts/isthmus.rules.yaml).

A gateway serves them at `http://127.0.0.1:9979/metrics` (`metrics.address`, `metrics.port`). Names that Cilium or
Hubble have are theirs, so that their dashboards show a gateway. Drop reasons, the values of the label `reason`, are in
[dataplane/stats/reference.md](../dataplane/stats/reference.md#drop-reasons). An alert of severity `page` says that
traffic is lost or soon will be; `ticket`, that something is refused, degraded or about to run out.
"""


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def rows(path, columns):
    return re.findall(r"^ISTHMUS_(\w+)\((\w+), (\w+)" + r', "([^"]*)"' * columns + r"\)$", read(path), re.MULTILINE)


def metrics():
    """Every metric of the page."""
    found = [Metric(name, kind.lower(), labels, text, hint)
             for _, _, kind, name, labels, text, hint in rows(METRICS, 4)]
    for scope, _, kind, _, name, _, text, hint in rows(COUNTERS, 5):
        labels = "device side" if scope in ("QUEUE_COUNTER", "STEER_COUNTER") else ""
        found.append(Metric(name, "gauge" if kind == "Gauge" else "counter", labels, text, hint))
    return found


def losses():
    """The counters of what is lost or refused: each has an alert."""
    return {name for _, _, kind, _, name, *_ in rows(COUNTERS, 5) if kind in ("Loss", "Refusal", "Left")}


def drop_reasons():
    return re.findall(r"^ISTHMUS_DROP\(\w+,\s*(\w+)", read(DROPS), re.MULTILINE)


def alerts():
    return [rule for group in yaml.safe_load(read(RULES))["groups"] for rule in group["rules"]]


def names_in(expression):
    return set(re.findall(r"\b(?:isthmus|cilium|hubble)_[a-z_]+\b", re.sub(r'"[^"]*"', "", expression)))


def cell(text):
    return text.replace("|", "\\|")


def page():
    rules = alerts()
    lines = [HEAD, "| metric | kind | labels | meaning | what to check | alerts |", "|---|---|---|---|---|---|"]
    for metric in metrics():
        told = ", ".join(f"`{rule['alert']}`" for rule in rules if metric.name in names_in(rule["expr"]))
        labels = " ".join(f"`{label}`" for label in metric.labels.split())
        lines.append(f"| `{metric.name}` | {metric.kind} | {labels} | {cell(metric.text)} | {cell(metric.hint)} "
                     f"| {told} |")
    lines += ["", "## Alerts", "", "| alert | severity | fires when | for | remedy |", "|---|---|---|---|---|"]
    lines += [f"| `{rule['alert']}` | {rule['labels']['severity']} | `{cell(rule['expr'])}` | {rule.get('for', '')} | "
              f"{cell(rule['annotations']['remedy'])} |" for rule in rules]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(page(), end="")
