"""The HTML page of perf/report: bar charts with ranges, one per group of cases, as inline SVG."""

from html import escape

from harness import machine

COLOURS = ["#2f6f9f", "#c8743a", "#5a8f4e", "#8a5a9e", "#b3a13c", "#a04c57"]
STYLE = """body{font:15px/1.5 sans-serif;max-width:70em;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse;font-size:13px}td,th{padding:.15em .7em;text-align:right;border-bottom:1px solid #ddd}
td:first-child,th:first-child{text-align:left}svg text{font:12px sans-serif}"""
BAR, LABELS, PLOT = 16, 430, 520


def group_of(row):
    return row["case"].split("/")[0]


def label_of(row):
    words = [row["case"]]
    if row.get("flows") is not None:
        words.append(f"{row['flows']:,} flows")
    words += [str(row[key]) for key in ("variation", "order", "frame", "buffers")
              if row.get(key) not in (None, "random", "64", "hot")]
    if row.get("burst") not in (None, 64):
        words.append(f"burst {row['burst']}")
    if (row.get("workers") or 1) > 1:
        words.append(f"{row['workers']} workers")
    return ", ".join(words)


def spread_of(row):
    """(median, minimum, maximum, unit) of a row's main figure; None if it has none."""
    cycles = row.get("cycles_per_packet")
    if cycles:
        return cycles["median"], cycles["min"], cycles["max"], "cycles/packet"
    if row.get("mpps") is not None:
        return row["mpps"], row["mpps"], row["mpps"], "Mpps"
    figure = row.get("figure")
    return (figure["median"], figure["min"], figure["max"], figure["unit"]) if figure else None


def plot(title, unit, bars):
    """`bars`: rows of label, and (median, minimum, maximum) or None for each run."""
    scale_max = max((bar[2] for _, of_runs in bars for bar in of_runs if bar), default=0) or 1
    height = sum(BAR * len(of_runs) + 8 for _, of_runs in bars) + 10
    parts = [f'<svg width="{LABELS + PLOT + 90}" height="{height}" role="img" aria-label="{escape(title)}">']
    top = 4
    for label, of_runs in bars:
        middle = top + BAR * len(of_runs) / 2 + 4
        parts.append(f'<text x="{LABELS - 8}" y="{middle:.0f}" text-anchor="end">{escape(label)}</text>')
        for number, bar in enumerate(of_runs):
            if bar:
                median, low, high = (value / scale_max * PLOT for value in bar)
                centre = top + BAR / 2
                parts.append(f'<rect x="{LABELS}" y="{top + 2}" width="{median:.1f}" height="{BAR - 4}" '
                             f'fill="{COLOURS[number % len(COLOURS)]}"/>')
                parts.append(f'<line x1="{LABELS + low:.1f}" x2="{LABELS + high:.1f}" y1="{centre}" y2="{centre}" '
                             'stroke="#222"/>')
                parts.append(f'<text x="{LABELS + max(median, high) + 6:.1f}" y="{centre + 4}">{bar[0]:.4g}</text>')
            top += BAR
        top += 8
    return f"<h2>{escape(title)} ({unit})</h2>" + "".join(parts) + "</svg>"


def plots(runs):
    """One chart per group of cases and unit, with a bar for each run."""
    found = {}
    for number, (_, rows) in enumerate(runs):
        for row in rows:
            spread = spread_of(row)
            if spread:
                bars = found.setdefault((group_of(row), spread[3]), {})
                bars.setdefault(label_of(row), [None] * len(runs))[number] = spread[:3]
    return "".join(plot(group, unit, list(bars.items())) for (group, unit), bars in found.items())


def shown(value):
    return escape(value) if isinstance(value, str) else f"{value:,.6g}"


def measures(name, rows):
    """Tables of the other figures of each case: losses, balance, memory."""
    text = ""
    for row in rows:
        if row.get("skipped"):
            text += f"<p>{escape(row['case'])}: skipped, {escape(row['skipped'])}</p>"
        for title in ("measures", "stages"):
            if row.get(title):
                cells = "".join(f"<tr><td>{escape(key)}</td><td>{shown(value)}</td></tr>"
                                for key, value in row[title].items())
                text += f"<h3>{escape(label_of(row))}: {title}</h3><table>{cells}</table>"
    return f"<h2>Other figures of {escape(name)}</h2>{text}" if text else ""


def render(runs):
    """`runs`: (name, rows) of each run."""
    legend = "".join(
        f'<li><span style="color:{COLOURS[number % len(COLOURS)]}">&#9632;</span> {escape(name)}'
        + (f": {escape(machine.line(rows[0]['machine']))}" if rows and rows[0].get("machine") else "") + "</li>"
        for number, (name, rows) in enumerate(runs))
    return ('<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Isthmus: benchmark results</title>'
            f"<style>{STYLE}</style></head><body><h1>Isthmus: benchmark results</h1><p>Bars are medians; lines show "
            f"the range from minimum to maximum.</p><ul>{legend}</ul>{plots(runs)}"
            + "".join(measures(name, rows) for name, rows in runs) + "</body></html>")
