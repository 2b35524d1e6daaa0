// What the JavaScript peers share: the command line, the modes, the measuring and the one line of JSON, with the same
// definitions as the Rust peers' runner. It must never reach into a peer's tables but through the peer's two queries.

import pg from "pg";

const FILL_BATCH = 1000;
const WARM_UP = 10;

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
const seconds = (since) => (performance.now() - since) / 1000;

let phase = "start";
let phaseSince = performance.now();
let printed = false;
let ran = 0;
let last = 0;
let awaited = null;

// The first line of every no-op handler.
export function handlerRan() {
  last = performance.now();
  ran += 1;
  if (awaited && ran >= awaited.count) {
    awaited.resolve();
    awaited = null;
  }
}

async function reached(count) {
  if (ran < count) {
    await new Promise((resolve) => {
      awaited = { count, resolve };
    });
  }
}

function enter(name) {
  phase = name;
  phaseSince = performance.now();
}

function print(line) {
  if (!printed) {
    printed = true;
    process.stdout.write(`${JSON.stringify(line)}\n`);
  }
}

function options(words) {
  const [mode, ...rest] = words;
  const number = (name, byDefault) => {
    const at = rest.indexOf(`--${name}`);
    return at < 0 ? byDefault : Number(rest[at + 1]);
  };
  if (!process.env.DATABASE_URL) throw new Error("DATABASE_URL is not set");
  return { mode, number, url: process.env.DATABASE_URL };
}

// Waits until the peer's query says that nothing is left.
async function finished(database, unfinished) {
  while ((await database.query({ name: "unfinished", text: unfinished })).rows[0].unfinished) {
    await pause(1);
  }
}

async function fill(peer, tasks) {
  enter("fill");
  for (let left = tasks; left > 0; left -= FILL_BATCH) {
    await peer.enqueueBatch(Math.min(left, FILL_BATCH));
  }
}

async function drainFilled(peer, database, tasks) {
  enter("analyze");
  await database.query("ANALYZE");
  enter("drain");
  const start = performance.now();
  await peer.start("throughput");
  await reached(tasks);
  enter("completions");
  await finished(database, peer.unfinished);
  const took = seconds(start);
  if (peer.finished) {
    const count = Number((await database.query(peer.finished)).rows[0].count);
    if (count !== tasks) throw new Error(`${count} of ${tasks} tasks are completed in the database`);
  }
  if (ran !== tasks) throw new Error(`${ran} handlers ran for ${tasks} tasks`);
  return took;
}

async function drain(peer, database, number) {
  const tasks = number("tasks", 20000);
  await fill(peer, tasks);
  const took = await drainFilled(peer, database, tasks);
  return { tasks, seconds: took, per_s: tasks / took };
}

// Callers that each do the same call one after the other; rows a second.
async function callers(count, duration, call) {
  const start = performance.now();
  const rows = await Promise.all(
    Array.from({ length: count }, async () => {
      let done = 0;
      while (seconds(start) < duration) done += await call();
      return done;
    }),
  );
  const tasks = rows.reduce((sum, done) => sum + done, 0);
  const took = seconds(start);
  return { tasks, seconds: took, per_s: tasks / took };
}

async function enqueue(peer, database, number) {
  const count = Math.max(1, number("callers", 1));
  enter("warm-up");
  await Promise.all(Array.from({ length: count }, (_, caller) => peer.enqueue(caller)));
  enter("enqueue");
  let next = 0;
  const result = await callers(count, number("seconds", 5), async () => {
    await peer.enqueue(next++);
    return 1;
  });
  return { callers: count, ...result };
}

async function enqueueBatch(peer, database, number) {
  const size = number("size", 1000);
  const count = number("callers", peer.batchCallers ?? 2);
  enter("warm-up");
  await peer.enqueueBatch(1);
  enter("enqueue-batch");
  const result = await callers(count, number("seconds", 5), async () => {
    await peer.enqueueBatch(size);
    return size;
  });
  return { size, callers: count, ...result };
}

function percentile(values, share) {
  const sorted = [...values].sort((one, other) => one - other);
  return sorted[Math.min(Math.max(Math.ceil(share * sorted.length), 1), sorted.length) - 1];
}

async function latency(peer, database, number) {
  const samples = Math.max(1, number("samples", 200));
  enter("start");
  await peer.start("latency");
  const fromCall = [];
  const fromAcknowledgement = [];
  for (let sample = 0; sample < WARM_UP + samples; sample++) {
    if (sample === WARM_UP) enter("latency");
    await pause(20 + Math.random() * 20);
    const before = ran;
    const call = performance.now();
    await peer.enqueue(sample);
    const acknowledged = performance.now();
    await reached(before + 1);
    if (sample >= WARM_UP) {
      fromCall.push(last - call);
      fromAcknowledgement.push(last - acknowledged);
    }
  }
  await finished(database, peer.unfinished);
  return {
    samples,
    p50_ms: percentile(fromCall, 0.5),
    p99_ms: percentile(fromCall, 0.99),
    acknowledged_p50_ms: percentile(fromAcknowledgement, 0.5),
    acknowledged_p99_ms: percentile(fromAcknowledgement, 0.99),
  };
}

async function walBytes(database) {
  const text = "SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint AS bytes";
  return Number((await database.query(text)).rows[0].bytes);
}

async function wal(peer, database, number) {
  const tasks = number("tasks", 20000);
  await database.query("CHECKPOINT");
  let before = await walBytes(database);
  await fill(peer, tasks);
  const enqueued = (await walBytes(database)) - before;
  await database.query("ANALYZE");
  before = await walBytes(database);
  await drainFilled(peer, database, tasks);
  const worked = (await walBytes(database)) - before;
  return {
    tasks,
    bytes_per_task: (enqueued + worked) / tasks,
    enqueue_bytes_per_task: enqueued / tasks,
    work_bytes_per_task: worked / tasks,
  };
}

// No JavaScript peer here has steps.
const steps = async () => ({ unsupported: true });

const MODES = { drain, enqueue, "enqueue-batch": enqueueBatch, latency, steps, wal };

// Runs the mode of the command line against the peer: `install(url, mode, callers)` returns its verbs.
export async function run(install) {
  const { mode, number, url } = options(process.argv.slice(2));
  if (!MODES[mode]) throw new Error(`unknown mode ${mode}`);
  setTimeout(() => {
    print({ timeout: true, phase, phase_seconds: seconds(phaseSince), handlers_ran: ran });
    process.exit(0);
  }, number("limit", 120) * 1000);
  enter("install");
  const peer = await install(url, mode, mode === "enqueue" ? number("callers", 1) : 1);
  const database = new pg.Client({ connectionString: url });
  await database.connect();
  print(await MODES[mode](peer, database, number));
  process.exit(0);
}
