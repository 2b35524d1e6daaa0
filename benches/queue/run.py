#!/usr/bin/env python3
"""Compares task queues on PostgreSQL: the peers' runners and ours, in turns, on one private cluster.

Python's standard library only. Progress goes to standard error, the tables to standard output.
"""

import argparse
import datetime
import json
import os
import pathlib
import signal
import subprocess
import sys

import peers
import report
from cluster import SETTINGS, Cluster

MODES = ("drain", "enqueue", "enqueue-batch", "latency", "steps", "wal")
OURS = "ours"
# Options that say where things lie on this machine, not what was measured.
PATHS = ("ours", "target", "json", "data", "build", "build_only")
# What a runner may take beyond its own limit: to start, and to print.
GRACE_S = 20


def arguments():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    names = [peer.key for peer in peers.PEERS]
    parser.add_argument("--build", action="store_true", help="build and install the chosen peers first")
    parser.add_argument("--build-only", action="store_true", help="build, measure nothing")
    parser.add_argument("--ours", metavar="PATH", help="our runner: a program with the runners' command line")
    parser.add_argument("--peers", nargs="*", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES), metavar="MODE")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--tasks", type=int, default=50_000, help="tasks of drain and wal")
    parser.add_argument("--ours-tasks", type=int, help="as many for ours, when it needs more to be timed well")
    parser.add_argument("--slow-tasks", type=int, default=1000, help="at most so many for the slow peers")
    parser.add_argument("--callers", type=int, nargs="+", default=[1, 16], help="of enqueue, one run each")
    parser.add_argument("--size", type=int, default=1000, help="of a batch")
    parser.add_argument("--seconds", type=float, default=5, help="of enqueue and enqueue-batch")
    parser.add_argument("--samples", type=int, default=200, help="of latency")
    parser.add_argument("--workflows", type=int, default=32, help="concurrent, of steps")
    parser.add_argument("--steps", type=int, default=10, help="of one workflow")
    parser.add_argument("--limit", type=float, default=120, help="seconds of one run")
    parser.add_argument("--target", type=pathlib.Path, default=peers.HERE.parents[1] / "target" / "queue-peers",
                        help="where the peers are built")
    parser.add_argument("--data", help="where the cluster's folder is made; its parents must be enterable to all")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write every result there")
    return parser.parse_args()


def runs_of(mode, options, slow=False, ours=False):
    """The runs of a mode: the metric's name, and the runner's words."""
    tasks = min(options.tasks, options.slow_tasks) if slow else options.tasks
    tasks = options.ours_tasks if ours and options.ours_tasks else tasks
    limit = ["--limit", options.limit]
    if mode == "enqueue":
        return [(f"enqueue-{callers}", ["enqueue", "--callers", callers, "--seconds", options.seconds, *limit])
                for callers in options.callers]
    words = {
        "drain": ["--tasks", tasks],
        "enqueue-batch": ["--size", options.size, "--seconds", options.seconds],
        "latency": ["--samples", options.samples],
        "steps": ["--workflows", options.workflows, "--steps", options.steps],
        "wal": ["--tasks", tasks],
    }[mode]
    return [(mode, [mode, *words, *limit])]


def run(cluster, command, words, limit_s):
    """One run on a new database; what the runner said, or how it failed."""
    cluster.create("benchmark")
    environment = dict(os.environ, DATABASE_URL=cluster.url("benchmark"), PYTHONDONTWRITEBYTECODE="1")
    process = subprocess.Popen(
        [*command, *map(str, words)], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )
    try:
        said, errors = process.communicate(timeout=limit_s + GRACE_S)
    except subprocess.TimeoutExpired:
        return {"timeout": True, "killed": True}
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        cluster.drop("benchmark")
    if process.returncode != 0 or not said.strip():
        return {"failed": process.returncode, "errors": errors[-2000:]}
    return json.loads(said.strip().splitlines()[-1])


def measure(cluster, options, chosen):
    """All repetitions, our side after each peer's run."""
    results = []
    rates = []

    def rate(moment):
        rates.append({"moment": moment, "commits_per_s": cluster.commits_per_s(), "load": os.getloadavg()[0]})
        print(f"[{moment}] {report.rate(rates[-1])}", file=sys.stderr)

    def one(name, command, metric, words, repetition):
        result = run(cluster, command, words, options.limit)
        results.append({"system": name, "metric": metric, "repetition": repetition, "result": result})
        print(f"[{repetition + 1}/{options.repetitions}] {metric:14} {name:24} {json.dumps(result)}", file=sys.stderr)

    ours = [options.ours] if options.ours else None
    rate("start")
    for repetition in range(options.repetitions):
        for mode in options.modes:
            ours_runs = runs_of(mode, options, ours=True)
            able = [peer for peer in chosen if mode in peer.modes]
            for peer in able:
                for (metric, words), (_, ours_words) in zip(runs_of(mode, options, peer.slow), ours_runs):
                    one(peer.name, peer.command(options.target), metric, words, repetition)
                    if ours:
                        one(OURS, ours, metric, ours_words, repetition)
            if ours and not able:
                for metric, words in ours_runs:
                    one(OURS, ours, metric, words, repetition)
        rate(f"after repetition {repetition + 1}")
    return results, rates


def main():
    """Builds, measures and reports."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options = arguments()
    options.target = options.target.resolve()
    chosen = [peer for peer in peers.PEERS if peer.key in options.peers]
    if options.build or options.build_only:
        peers.build({peer.language for peer in chosen}, options.target)
    if options.build_only:
        return
    if options.ours:
        options.ours = str(pathlib.Path(options.ours).resolve())
    missing = [peer.name for peer in chosen if not pathlib.Path(peer.command(options.target)[-1]).exists()]
    if missing:
        raise SystemExit(f"not built, call with --build: {', '.join(missing)}")
    with Cluster(options.data) as cluster:
        about = {
            "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="minutes"),
            "machine": report.machine(),
            "postgresql": cluster.version(),
            "settings": SETTINGS,
            "versions": {peer.name: peer.version() for peer in chosen},
            "options": {name: value for name, value in vars(options).items() if name not in PATHS},
        }
        results, rates = measure(cluster, options, chosen)
    about["commit_rates"] = rates
    print(report.markdown(about, results, OURS))
    if options.json:
        options.json.write_text(json.dumps({"about": about, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
