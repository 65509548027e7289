"""io/xdp/latency/*, io/xdp/tcp*: what two pods see of what carries their packets, in turns.

One row for each case and subject.
"""

import statistics

from harness import pod_stands
from harness.build import HarnessError

UDP, TCP = "io/xdp/latency/udp", "io/xdp/latency/tcp"
STREAM, JUMBO = "io/xdp/tcp", "io/xdp/tcp/jumbo"
REQUEST_BYTES = 64
# The longest packet whose frame, in VXLAN, is still in one buffer of a veth; what is longer goes to the engine.
ONE_BUFFER = 3456
LONGEST = 3776  # what fits a buffer of the engine: devices.local.mtu of such an underlay

# Subjects by case, the reference first. Gateways' flows are handed down in all but "AF_XDP".
SUBJECTS = {
    UDP: ("kernel", "direct", "handed down", "AF_XDP"),
    TCP: ("kernel", "direct", "handed down", "AF_XDP"),
    STREAM: ("kernel, offloads off", "kernel", "kernel, cut at the underlay", "handed down",
             "handed down, pods' offloads off", "AF_XDP"),
    JUMBO: ("kernel 9000, offloads off", "kernel 9000, cut at the underlay",
            f"handed down 9000, packets of {ONE_BUFFER}", f"AF_XDP 9000, packets of {LONGEST}"),
}


def _stand(name, programs, number):
    pods, isthmus = programs
    gateways = {"isthmus": isthmus, "down": "handed down" in name}
    jumbo = {"mtu": pod_stands.JUMBO_MTU} if "9000" in name else {}
    if name == "direct":
        return pod_stands.Direct(name, pods, number)
    if name.startswith("kernel"):
        wire = "off" if "offloads off" in name else "link" if "cut" in name else "on"
        return pod_stands.Kernel(name, pods, number, wire=wire, **jumbo)
    for mtu in (ONE_BUFFER, LONGEST):
        if name.endswith(f"packets of {mtu}"):
            gateways["local_mtu"] = mtu
    return pod_stands.Gateways(name, pods, number, **gateways, **jumbo, pod_offloads="pods' offloads off" not in name)


def take_turns(stands, turn, rounds):
    """Every stand's answers, in rounds after one that warms up."""
    answers = [[] for _ in stands]
    for number in range(rounds + 1):
        for stand, own in zip(stands, answers):
            answer = stand.measure(turn)
            if number > 0:
                own.append(answer)
    return answers


def spread(values, unit):
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "unit": unit,
            "runs": len(values)}


def _row(case, name, reference, figure, of_reference, measures):
    row = {"case": case, "variation": name, "device": "veth", "figure": figure, "measures": measures}
    if name != reference:
        ratios = [own / other for own, other in zip(*of_reference)]
        row.update(reference=reference, ratio_to_reference=statistics.median(ratios))
    return row


def latency_rows(case, names, answers):
    def of(turns, key):
        return [turn[key] for turn in turns]
    rows = []
    for name, turns in zip(names, answers):
        measures = {}
        for key in ("p50", "p99", "p99.9", "max"):
            values = of(turns, key)
            measures[f"{key}, us"] = statistics.median(values)
            measures[f"{key}, us, lowest and highest"] = f"{min(values):.1f} to {max(values):.1f}"
        measures["CPU us per request"] = statistics.median(turn["busy"] * 1e6 / turn["requests"] for turn in turns)
        row = _row(case, name, names[0], spread(of(turns, "p50"), "us"), (of(turns, "p50"), of(answers[0], "p50")),
                   measures)
        rows.append({**row, "frame_bytes": REQUEST_BYTES + 42, "tsc_mhz": turns[0]["tsc_mhz"]})
    return rows


def stream_rows(case, names, answers):
    def rates(turns):
        return [turn["bytes"] * 8e-9 / turn["seconds"] for turn in turns]

    def cycles(turns):
        return [turn["busy"] * turn["tsc_mhz"] * 1e6 / turn["bytes"] for turn in turns]
    rows = []
    for name, turns in zip(names, answers):
        own, per_byte = rates(turns), cycles(turns)
        measures = {
            "Gbit/s": statistics.median(own),
            "Gbit/s, lowest and highest": f"{min(own):.2f} to {max(own):.2f}",
            "cycles per byte": statistics.median(per_byte),
            "cycles per byte, lowest and highest": f"{min(per_byte):.2f} to {max(per_byte):.2f}",
            "cores busy": statistics.median(turn["busy"] / turn["seconds"] for turn in turns),
            "segments sent again per GB": statistics.median(turn["retransmitted"] * 1e9 / turn["bytes"]
                                                            for turn in turns),
        }
        row = _row(case, name, names[0], spread(own, "Gbit/s"), (own, rates(answers[0])), measures)
        rows.append({**row, "tsc_mhz": turns[0]["tsc_mhz"]})
    return rows


def measure(selected, programs, rounds, quick):
    """Rows of the selected cases. `programs`: perf-pods and isthmus."""
    requests, seconds = (2000, 0.4) if quick else (10000, 0.7)
    rows = []
    # Not all stands at once: gateways that are idle wake up, too.
    for cases in ((UDP, TCP), (STREAM,), (JUMBO,)):
        cases = [case for case in cases if case in selected]
        if not cases:
            continue
        names = SUBJECTS[cases[0]]
        with Stands(names, programs) as stands:
            for case in cases:
                turn = {UDP: f"udp {requests}", TCP: f"tcp {requests}"}.get(case, f"stream {seconds}")
                rows_of = latency_rows if case in (UDP, TCP) else stream_rows
                rows += rows_of(case, names, take_turns(stands, turn, rounds))
    return rows


class Stands:
    """Context: the named stands, all up."""

    def __init__(self, names, programs):
        self.stands = [_stand(name, programs, number) for number, name in enumerate(names)]

    def __enter__(self):
        try:
            for stand in self.stands:
                stand.open()
        except (pod_stands.CommandError, TimeoutError, OSError) as error:
            self.__exit__()
            raise HarnessError(f"{stand.name}: {error}") from None
        except BaseException:
            self.__exit__()
            raise
        return self.stands

    def __exit__(self, *_):
        for stand in self.stands:
            stand.close()
