"""Tables from the raw results: medians, and ratios within one repetition.

It owns what counts as better; it must never compare figures of different runs of the benchmark.
"""

import os
import platform
import re
import statistics

# A metric's figures: the field of the runner's line, the column's title, and whether more is better.
FIELDS = {
    "drain": [("per_s", "drain tasks/s", True)],
    "enqueue": [("per_s", "enqueue, {} caller(s), /s", True)],
    "enqueue-batch": [("per_s", "enqueue in batches, rows/s", True)],
    "latency": [
        ("p50_ms", "latency p50 ms", False),
        ("p99_ms", "latency p99 ms", False),
        ("acknowledged_p50_ms", "p50 ms after the commit", False),
    ],
    "steps": [("per_s", "durable steps/s", True)],
    "wal": [("bytes_per_task", "WAL bytes a task", False)],
}


def machine():
    """Cores, memory, processor and kernel."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        model = re.search(r"model name\s*:\s*(.+)", file.read())
    with open("/proc/meminfo", encoding="utf-8") as file:
        memory_kib = int(re.search(r"MemTotal:\s*(\d+)", file.read()).group(1))
    return {
        "cores": os.cpu_count(),
        "memory_gib": round(memory_kib / 2**20),
        "processor": model.group(1).strip() if model else platform.machine(),
        "kernel": f"{platform.system()} {platform.release()}",
    }


def rate(entry):
    """One measurement of the disk, in words."""
    commits = entry["commits_per_s"]
    said = "not measured, pgbench is missing" if commits is None else f"{commits:,.0f} single-row commits/s"
    return f"{said}, load {entry['load']:.1f}"


def fields(metric):
    """The figures of a metric, with their titles."""
    callers = re.fullmatch(r"enqueue-(\d+)", metric)
    if callers:
        return [(field, title.format(callers.group(1)), more) for field, title, more in FIELDS["enqueue"]]
    return FIELDS[metric]


def number(value):
    """A figure for a reader."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.2f}"


def values(results, system, metric, field, repetition=None):
    """The figures of a system; those of one repetition when asked."""
    return [
        entry["result"][field]
        for entry in results
        if entry["system"] == system and entry["metric"] == metric and field in entry["result"]
        and (repetition is None or entry["repetition"] == repetition)
    ]


def why_not(results, system, metric):
    """What stands in the table when there is no figure."""
    for entry in results:
        if entry["system"] == system and entry["metric"] == metric:
            for word, said in (("unsupported", "–"), ("timeout", "time limit"), ("failed", "failed")):
                if word in entry["result"]:
                    return said
    return ""


def incomplete(results):
    """The runs that gave no figure."""
    lines = []
    for entry in results:
        result = entry["result"]
        if "timeout" in result or "failed" in result:
            what = "reached its limit" if "timeout" in result else "failed"
            where = f" in `{result['phase']}`, {result['handlers_ran']} handlers had run" if "phase" in result else ""
            lines.append(f"- {entry['system']}, {entry['metric']}, repetition {entry['repetition'] + 1}: {what}{where}")
    return lines


def median_table(results):
    """Medians of each system and figure."""
    metrics = list(dict.fromkeys(entry["metric"] for entry in results))
    systems = list(dict.fromkeys(entry["system"] for entry in results))
    columns = [(metric, *field) for metric in metrics for field in fields(metric)]
    lines = [
        "| system | " + " | ".join(title for _, _, title, _ in columns) + " |",
        "|---" + "|---:" * len(columns) + "|",
    ]
    for system in systems:
        cells = []
        for metric, field, _, _ in columns:
            found = values(results, system, metric, field)
            cells.append(number(statistics.median(found)) if found else why_not(results, system, metric))
        lines.append(f"| {system} | " + " | ".join(cells) + " |")
    return lines


def ratio_table(results, ours):
    """Ours to the best peer: the ratio within each repetition, then the median of those."""
    metrics = list(dict.fromkeys(entry["metric"] for entry in results))
    others = [system for system in dict.fromkeys(entry["system"] for entry in results) if system != ours]
    repetitions = sorted({entry["repetition"] for entry in results})
    lines = ["| figure | ours | best peer | ours : best | better is |", "|---|---:|---:|---:|---|"]
    for metric in metrics:
        for field, title, more in fields(metric):
            ratios = []
            for repetition in repetitions:
                mine = values(results, ours, metric, field, repetition)
                theirs = [value for system in others for value in values(results, system, metric, field, repetition)]
                best = (max if more else min)(theirs) if theirs else None
                if mine and best:
                    ratios.append(statistics.median(mine) / best)
            medians = {
                system: statistics.median(found)
                for system in others
                if (found := values(results, system, metric, field))
            }
            if not ratios or not medians:
                continue
            best = (max if more else min)(medians, key=medians.get)
            mine = statistics.median(values(results, ours, metric, field))
            lines.append(
                f"| {title} | {number(mine)} | {number(medians[best])} ({best}) | "
                f"{statistics.median(ratios):.2f} | {'more' if more else 'less'} |"
            )
    return lines


def markdown(about, results, ours):
    """The whole report."""
    where = about["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    lines = [
        f"Measured {about['date']}: {where['cores']} cores of {where['processor']}, {where['memory_gib']} GiB, "
        f"{where['kernel']}, PostgreSQL {about['postgresql']}, {about['options']['repetitions']} repetitions.",
        f"Peers: {versions}.",
        "One connection's commit rate: "
        + "; ".join(f"{entry['moment']} {rate(entry)}" for entry in about["commit_rates"]) + ".",
        "",
        "Medians:",
        "",
        *median_table(results),
    ]
    if any(entry["system"] == ours for entry in results):
        lines += ["", "Ratios within a repetition, their median:", "", *ratio_table(results, ours)]
    left_out = incomplete(results)
    if left_out:
        lines += ["", "Runs without a figure:", "", *left_out]
    return "\n".join(lines)
