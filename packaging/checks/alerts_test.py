"""The alerting rules: Prometheus takes them, they are about metrics that exist, and each fires when it should."""

import os
import re
import subprocess
import sys
import tempfile
import unittest

import yaml

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "packaging", "alerts"))

import reference  # noqa: E402  (needs the path above)

RULES = os.path.join(ROOT, reference.RULES)
GATEWAY = 'instance="gw:9979",job="isthmus"'
# Reasons without an alert: what a policy, a peer's user or a pod asked for, and what passes by itself.
NOT_ALERTED = {"policy_denied", "policy_deny", "ttl_exceeded", "unsupported_l2", "unsupported_l4", "unsupported_icmp",
               "malformed", "ip_fragment", "ecn_not_capable", "martian", "source_removed", "no_frontend", "transit",
               "no_mapping", "midstream", "fragment_timeout", "source_range", "source_route", "extension_headers",
               "untranslatable", "echo_limit", "icmp_limited", "icmp_reporter"}
# A sound gateway for an hour, a sample a minute: series → values.
SOUND = {
    f"up{{{GATEWAY}}}": "1x60",
    "isthmus_serving": "1x60", "isthmus_hub_synced": "1x60", "isthmus_isolated": "0x60", "isthmus_problems": "0x60",
    "isthmus_uptime_seconds": "0+60x60",
    'isthmus_hub_in_sync{hub="etcd",part="west"}': "1x60",
    'isthmus_hub_connects_total{hub="etcd",part="west"}': "1x60",
    'isthmus_hub_objects_retained{hub="etcd",part="west"}': "0x60",
    'isthmus_connection_table_start{start="discarded"}': "0x60",
    'cilium_clustermesh_remote_cluster_readiness_status{target_cluster="west"}': "1x60",
    'isthmus_peer_up{peer="west-1",cluster="west"}': "1x60", "isthmus_outliers_ejected": "0x60",
    'isthmus_peer_path_black_hole{peer="west-1",cluster="west"}': "0x60",
    'isthmus_device_up{device="eth0",side="underlay"}': "1x60",
    'isthmus_policies{state="applied"}': "9x60", 'isthmus_policies{state="refused"}': "0x60",
    'isthmus_drops_total{reason="policy_denied"}': "0+1000x60", 'isthmus_drops_total{reason="no_route"}': "0+1x60",
    "isthmus_connections": "1000x60", "isthmus_connections_capacity": "262144x60",
    'isthmus_flow_events_total{verdict="forwarded",outcome="reported"}': "0+100x60",
}
# What fires it: alert → series that differ from the sound gateway's.
FIRES = {
    "IsthmusDown": {f"up{{{GATEWAY}}}": "1x10 0x50"},
    "IsthmusNotServing": {"isthmus_serving": "0x60"},
    "IsthmusRestarts": {"isthmus_uptime_seconds": "0+60x49 0 60 0 60 0 60 0 60 0 60"},
    "IsthmusConnectionsBeganAnew": {'isthmus_connection_table_start{start="discarded"}': "1x60",
                                    "isthmus_uptime_seconds": "0+10x60"},
    "IsthmusHubAway": {'isthmus_hub_in_sync{hub="etcd",part="west"}': "1x40 0x20"},
    "IsthmusHubNeverRead": {"isthmus_hub_synced": "0x60"},
    "IsthmusHubReconnects": {'isthmus_hub_connects_total{hub="etcd",part="west"}': "0+2x60"},
    "IsthmusHubRetains": {'isthmus_hub_objects_retained{hub="etcd",part="west"}': "0x50 3x10"},
    "IsthmusHubValuesRefused": {'isthmus_hub_refused_total{hub="etcd",part="west"}': "0x55 1x5"},
    "IsthmusProblems": {"isthmus_problems": "1x60"},
    "IsthmusIsolated": {"isthmus_isolated": "1x60"},
    "IsthmusClusterUnreachable": {
        'cilium_clustermesh_remote_cluster_readiness_status{target_cluster="west"}': "1x50 0x10"},
    "IsthmusPeerDown": {'isthmus_peer_up{peer="west-1",cluster="west"}': "1x50 0x10"},
    "IsthmusPeerComesAndGoes": {'isthmus_peer_failures_total{peer="west-1",cluster="west"}': "0+1x60"},
    "IsthmusBackendsEjected": {"isthmus_outliers_ejected": "1x60"},
    "IsthmusPathBlackHole": {'isthmus_peer_path_black_hole{peer="west-1",cluster="west"}': "0x40 1x20"},
    "IsthmusPolicyRefused": {'isthmus_policies{state="refused"}': "1x60"},
    "IsthmusRulesNotApplied": {'isthmus_policy_unapplied_rules{policy="p"}': "2x60"},
    "IsthmusDeviceDown": {'isthmus_device_up{device="eth0",side="underlay"}': "1x50 0x10"},
    "IsthmusDropsForWantOfRoom": {'isthmus_drops_total{reason="table_full"}': "0x57 5x3"},
    "IsthmusDropsForWantOfConfiguration": {'isthmus_drops_total{reason="no_route"}': "0+100x60"},
    "IsthmusDropsOfSuspectSenders": {'isthmus_drops_total{reason="vni_cluster"}': "0+100x60"},
    "IsthmusPacketsLost": {'isthmus_device_no_frame_total{device="eth0",side="underlay"}': "0+1x60"},
    "IsthmusWorkerBehind": {"isthmus_handoff_full_packets_total": "0+120000x60"},
    "IsthmusPacketsTooLong": {'isthmus_device_oversize_total{device="eth0",side="underlay"}': "0+1x60"},
    "IsthmusHostPacketsLost": {'isthmus_device_host_queue_full_total{device="eth0",side="underlay"}': "0+1x60"},
    "IsthmusEngineDown": {'isthmus_steer_engine_down_dropped_total{device="eth0",side="underlay"}': "0+9x60"},
    "IsthmusUnexpectedTunnelPackets": {'isthmus_steer_not_a_peer_total{device="eth0",side="underlay"}': "0+99x60"},
    "IsthmusConnectionTableNearlyFull": {"isthmus_connections": "250000x60"},
    "IsthmusConnectionsRefused": {"isthmus_connections_rejected_full_total": "0+1x60"},
    "IsthmusTablesRefuse": {"isthmus_endpoints_refused_total": "0+1x60"},
    "IsthmusHandDownStuck": {"isthmus_hand_down_wait_failures_total": "0+1x60"},
    "IsthmusControlFallsBehind": {"isthmus_control_events_lost_total": "0+1x60"},
    "IsthmusObservabilityLoses": {'hubble_lost_events_total{source="hubble_ring_buffer"}': "0+1x60"},
}


def with_gateway(series):
    """The series as Prometheus has it, with the target's labels."""
    if "instance=" in series:
        return series
    name, _, labels = series.partition("{")
    return f"{name}{{{GATEWAY}{',' + labels[:-1] if labels else ''}}}"


def promtool(*words):
    done = subprocess.run(["promtool", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False)
    return done.returncode, done.stdout


def firing(cases):
    """Of `cases` (alert, series that differ from the sound gateway's) the alerts that fire at the end of the hour."""
    tests = []
    for alert, changed in cases:
        series = [{"series": with_gateway(name), "values": values} for name, values in {**SOUND, **changed}.items()]
        # promtool compares; told to expect none, it prints what it got.
        tests.append({"interval": "1m", "input_series": series,
                      "alert_rule_test": [{"alertname": alert, "eval_time": "59m", "exp_alerts": []}]})
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump({"rule_files": [RULES], "evaluation_interval": "1m", "tests": tests}, file)
        file.flush()
        status, text = promtool("test", "rules", file.name)
    found = set(re.findall(r"alertname: ?(\w+), time", text))
    assert (status == 0) == (not found), text
    return found


class Alerts(unittest.TestCase):
    def test_prometheus_takes_the_rules(self):
        status, text = promtool("check", "rules", RULES)
        self.assertEqual(status, 0, text)

    def test_a_sound_gateway_raises_none(self):
        self.assertEqual(firing([(rule["alert"], {}) for rule in reference.alerts()]), set())

    def test_each_fires(self):
        self.assertEqual(firing(FIRES.items()), {rule["alert"] for rule in reference.alerts()})

    def test_each_is_about_metrics_that_exist(self):
        known = {metric.name for metric in reference.metrics()}
        for rule in reference.alerts():
            self.assertLessEqual(reference.names_in(rule["expr"]), known, rule["alert"])

    def test_each_loss_and_refusal_has_an_alert(self):
        alerted = set().union(*(reference.names_in(rule["expr"]) for rule in reference.alerts()))
        self.assertEqual(reference.losses() - alerted, set())

    def test_each_drop_reason_has_an_alert_or_a_reason_to_have_none(self):
        patterns = [re.compile(pattern) for rule in reference.alerts()
                    for pattern in re.findall(r'reason=~"([^"]*)"', rule["expr"])]
        reasons = set(reference.drop_reasons())
        self.assertLess(NOT_ALERTED, reasons)
        alerted = {reason for reason in reasons if any(pattern.fullmatch(reason) for pattern in patterns)}
        self.assertEqual(reasons - alerted, NOT_ALERTED)
        words = {word for pattern in patterns for word in pattern.pattern.split("|") if "*" not in word}
        self.assertLess(words, reasons)

    def test_each_has_a_severity_a_summary_and_a_remedy(self):
        for rule in reference.alerts():
            self.assertIn(rule["labels"]["severity"], ("page", "ticket"), rule["alert"])
            self.assertEqual(set(rule["annotations"]), {"summary", "remedy"}, rule["alert"])

    def test_the_page_is_what_the_lists_say(self):
        self.assertEqual(reference.read(reference.PAGE), reference.page(),
                         "packaging/alerts/reference.py > packaging/metrics.md")


if __name__ == "__main__":
    unittest.main()
