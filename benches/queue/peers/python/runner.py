"""What the Python peers share: the command line, the modes, the measuring and the one line of JSON.

The definitions are those of the Rust peers' runner. It must never reach into a peer's tables but through the peer's
two queries.
"""

import argparse
import asyncio
import json
import os
import random
import sys
import threading
import time

import asyncpg
import uvloop

FILL_BATCH = 1000
WARM_UP = 10

_printed = threading.Lock()
_phase = ("start", time.perf_counter())
_ran = 0
_last = 0.0
_awaited = None


def handler_ran():
    """The first line of every no-op handler."""
    global _ran, _last, _awaited
    _last = time.perf_counter()
    _ran += 1
    if _awaited is not None and _ran >= _awaited[0]:
        _awaited[1].set()
        _awaited = None


async def reached(count):
    """Waits until so many handlers have run."""
    global _awaited
    if _ran < count:
        event = asyncio.Event()
        _awaited = (count, event)
        await event.wait()


def enter(name):
    """Names what goes on now, for the line of a run that reaches its limit."""
    global _phase
    _phase = (name, time.perf_counter())


def finish(line):
    """Prints the line, unless one is out, and ends the process with all that still runs in it."""
    if _printed.acquire(blocking=False):
        print(json.dumps(line), flush=True)
    os._exit(0)


def limit(seconds):
    """Ends the process at the limit. A thread of its own, since a peer that hangs may hold the event loop."""

    def end():
        time.sleep(seconds)
        name, since = _phase
        finish({
            "timeout": True, "phase": name, "phase_seconds": time.perf_counter() - since, "handlers_ran": _ran,
        })

    threading.Thread(target=end, daemon=True).start()


class Peer:
    """A peer: its library behind the verbs that the modes need."""

    unfinished: str
    finished: str | None = None
    batch_callers = 2

    async def install(self, url, mode, callers):
        """Installs the schema and opens the connections that fit the mode."""
        raise NotImplementedError

    async def enqueue(self, number):
        """Puts one task in and waits for its commit."""
        raise NotImplementedError

    async def enqueue_batch(self, size):
        """Puts `size` tasks in with one call."""
        raise NotImplementedError

    async def start(self, latency):
        """Starts a worker of no-op tasks whose handler calls `handler_ran` first."""
        raise NotImplementedError


async def settled(peer, database):
    """Waits until the peer's query says that nothing is left."""
    while await database.fetchval(peer.unfinished):
        await asyncio.sleep(0.001)


async def fill(peer, tasks):
    """Puts the tasks of a drain in."""
    enter("fill")
    for start in range(0, tasks, FILL_BATCH):
        await peer.enqueue_batch(min(FILL_BATCH, tasks - start))


async def drain_filled(peer, database, tasks):
    """Starts the worker and waits until all is done; seconds."""
    enter("analyze")
    await database.execute("ANALYZE")
    enter("drain")
    start = time.perf_counter()
    await peer.start(latency=False)
    await reached(tasks)
    enter("completions")
    await settled(peer, database)
    seconds = time.perf_counter() - start
    if peer.finished:
        count = await database.fetchval(peer.finished)
        if count != tasks:
            raise RuntimeError(f"{count} of {tasks} tasks are completed in the database")
    if _ran != tasks:
        raise RuntimeError(f"{_ran} handlers ran for {tasks} tasks")
    return seconds


async def drain(peer, database, options):
    """The mode `drain`."""
    await fill(peer, options.tasks)
    seconds = await drain_filled(peer, database, options.tasks)
    return {"tasks": options.tasks, "seconds": seconds, "per_s": options.tasks / seconds}


async def repeat(callers, seconds, call):
    """Callers that each do the same call one after the other; rows a second."""
    start = time.perf_counter()

    async def caller():
        rows = 0
        while time.perf_counter() - start < seconds:
            rows += await call()
        return rows

    rows = sum(await asyncio.gather(*(caller() for _ in range(callers))))
    took = time.perf_counter() - start
    return {"tasks": rows, "seconds": took, "per_s": rows / took}


async def enqueue(peer, _database, options):
    """The mode `enqueue`."""
    callers = options.callers or 1
    enter("warm-up")
    await asyncio.gather(*(peer.enqueue(number) for number in range(callers)))
    enter("enqueue")

    async def call():
        await peer.enqueue(0)
        return 1

    return {"callers": callers, **await repeat(callers, options.seconds, call)}


async def enqueue_batch(peer, _database, options):
    """The mode `enqueue-batch`."""
    callers = options.callers or peer.batch_callers
    enter("warm-up")
    await peer.enqueue_batch(1)
    enter("enqueue-batch")

    async def call():
        await peer.enqueue_batch(options.size)
        return options.size

    return {"size": options.size, "callers": callers, **await repeat(callers, options.seconds, call)}


def percentile(values, share):
    """The nearest rank."""
    ordered = sorted(values)
    rank = -int(-share * len(ordered) // 1)
    return ordered[min(max(rank, 1), len(ordered)) - 1]


async def latency(peer, database, options):
    """The mode `latency`."""
    enter("start")
    await peer.start(latency=True)
    from_call, from_acknowledgement = [], []
    for sample in range(WARM_UP + options.samples):
        if sample == WARM_UP:
            enter("latency")
        await asyncio.sleep(random.uniform(0.02, 0.04))
        before = _ran
        call = time.perf_counter()
        await peer.enqueue(sample)
        acknowledged = time.perf_counter()
        await reached(before + 1)
        if sample >= WARM_UP:
            from_call.append((_last - call) * 1e3)
            from_acknowledgement.append((_last - acknowledged) * 1e3)
    await settled(peer, database)
    return {
        "samples": options.samples,
        "p50_ms": percentile(from_call, 0.5), "p99_ms": percentile(from_call, 0.99),
        "acknowledged_p50_ms": percentile(from_acknowledgement, 0.5),
        "acknowledged_p99_ms": percentile(from_acknowledgement, 0.99),
    }


async def wal(peer, database, options):
    """The mode `wal`."""
    position = "SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint"
    await database.execute("CHECKPOINT")
    before = await database.fetchval(position)
    await fill(peer, options.tasks)
    enqueued = await database.fetchval(position) - before
    await database.execute("ANALYZE")
    before = await database.fetchval(position)
    await drain_filled(peer, database, options.tasks)
    worked = await database.fetchval(position) - before
    return {
        "tasks": options.tasks, "bytes_per_task": (enqueued + worked) / options.tasks,
        "enqueue_bytes_per_task": enqueued / options.tasks, "work_bytes_per_task": worked / options.tasks,
    }


async def steps(_peer, _database, _options):
    """The mode `steps`: no Python peer here has steps."""
    return {"unsupported": True}


MODES = {
    "drain": drain, "enqueue": enqueue, "enqueue-batch": enqueue_batch, "latency": latency, "steps": steps, "wal": wal,
}


def run(peer):
    """Runs the mode of the command line against the peer and prints its line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("mode", choices=MODES)
    for name, kind, default in (
        ("tasks", int, 20_000), ("callers", int, None), ("seconds", float, 5.0), ("size", int, 1000),
        ("samples", int, 200), ("workflows", int, 32), ("steps", int, 10), ("limit", float, 120.0),
    ):
        parser.add_argument(f"--{name}", type=kind, default=default)
    options = parser.parse_args()
    url = os.environ["DATABASE_URL"]
    limit(options.limit)

    async def measured():
        enter("install")
        await peer.install(url, options.mode, (options.callers or 1) if options.mode == "enqueue" else 1)
        database = await asyncpg.connect(url)
        return await MODES[options.mode](peer, database, options)

    async def whole():
        try:
            line = await measured()
        except Exception:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        finish(line)

    uvloop.run(whole())
