"""Result rows: their keys, the printed table, and the comparison of two files."""

import json

from harness.build import HarnessError

KEYS = ["case", "device", "flows", "frame_bytes", "burst", "buffers", "workers", "cycles_per_packet", "mpps",
        "reference", "ratio_to_reference"]
IDENTITY = ["case", "variation", "device", "flows", "order", "frame", "frame_bytes", "burst", "buffers", "workers"]


def complete(row):
    """The row with all KEYS; None where a case has no such figure."""
    return {**dict.fromkeys(KEYS), **row}


def read(path):
    """Reads a JSON file written by perf/run."""
    try:
        with open(path, encoding="utf-8") as file:
            rows = json.load(file)
    except (OSError, ValueError) as error:
        raise HarnessError(f"cannot read figures from {path}: {error}") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) and "case" in row for row in rows):
        raise HarnessError(f"{path} is not a results file: expected an array of objects with the key 'case'")
    return rows


def write(rows, path):
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write("[\n" + ",\n".join("  " + json.dumps(row) for row in rows) + "\n]\n")
    except OSError as error:
        raise HarnessError(f"cannot write {path}: {error.strerror}") from None


def identity(row):
    return tuple(str(row.get(key)) for key in IDENTITY)


def _count(number):
    if number is None:
        return "-"
    for limit, unit in ((1000000, "M"), (1000, "k")):
        if number >= limit and number % limit == 0:
            return f"{number // limit}{unit}"
    return str(number)


def _cells(row):
    cycles = row["cycles_per_packet"]
    shape = [row.get("frame") or (f"{row['frame_bytes']:g}" if row["frame_bytes"] else "-"), row["burst"],
             row["buffers"], row["workers"]]
    words = [row["case"], row.get("variation"), "zipf" if row.get("order") == "zipf" else None]
    return ([" ".join(filter(None, words)), _count(row["flows"])] +
            ["-" if cell is None else str(cell) for cell in shape] +
            [f"{cycles['median']:.1f}" if cycles else "-",
             f"{cycles['min']:.1f}-{cycles['max']:.1f}" if cycles else "-",
             f"{row['mpps']:.3f}" if row["mpps"] is not None else "-",
             f"{row['ratio_to_reference']:.2f} x {row['reference']}" if row["ratio_to_reference"] is not None else ""])


HEAD = ["case", "flows", "frame", "burst", "buf", "w", "cycles/packet", "min-max", "Mpps", "ratio"]


def table(rows):
    """The rows as a text table; other figures of a case follow below its row."""
    lines = [HEAD] + [_cells(row) for row in rows]
    width = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    shown = []
    for number, line in enumerate(lines):
        left = [0, len(HEAD) - 1]
        shown.append("  ".join(cell.ljust(width[i]) if i in left else cell.rjust(width[i])
                               for i, cell in enumerate(line)).rstrip())
        if number > 0:
            row = rows[number - 1]
            if row.get("skipped"):
                shown.append(f"    skipped: {row['skipped']}")
            for title in ("measures", "stages"):
                shown += [f"    {name}: {value:g}" if isinstance(value, (int, float)) else f"    {name}: {value}"
                          for name, value in (row.get(title) or {}).items()]
    return "\n".join(shown)


def ratios(rows):
    """The part of the rows that is kept as a baseline: ratios of timed cases, which depend less on the machine."""
    kept = [*IDENTITY, "reference", "ratio_to_reference"]
    timed = [row for row in rows if row.get("cycles_per_packet") or row.get("mpps")]
    return [{key: row.get(key) for key in kept} for row in timed if row.get("ratio_to_reference") is not None]


def _change(row, other):
    """[before, now, change] of cycles if both rows have them, else of the ratio; None if not comparable."""
    cycles, old_cycles = row.get("cycles_per_packet"), other.get("cycles_per_packet")
    if cycles and old_cycles:
        was, now = old_cycles["median"], cycles["median"]
        significant = cycles["min"] > old_cycles["max"] or cycles["max"] < old_cycles["min"]
        suffix = "" if significant else " (within the spread)"
        return [f"{was:.1f}", f"{now:.1f}", f"{100 * (now / was - 1):+.1f} %{suffix}"]
    was, now = other.get("ratio_to_reference"), row.get("ratio_to_reference")
    if was and now and row.get("reference") == other.get("reference"):
        return [f"{was:.2f} x", f"{now:.2f} x", f"{100 * (now / was - 1):+.1f} % of the ratio to {row['reference']}"]
    return None


def compare(old, new):
    """A text table of the rows in both, with the change of the median or of the ratio."""
    before = {identity(row): row for row in old}
    lines = [["case", "flows", "frame", "burst", "buf", "w", "before", "now", "change"]]
    for row in new:
        other = before.get(identity(row))
        change = _change(row, other) if other else None
        if change:
            lines.append(_cells(row)[:6] + change)
    if len(lines) == 1:
        return "the files have no comparable rows"
    width = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join("  ".join(cell.ljust(width[i]) if i == 0 else cell.rjust(width[i])
                               for i, cell in enumerate(line[:-1])) + "  " + line[-1] for line in lines)
