// The peer pg-boss.

import { PgBoss } from "pg-boss";

import { handlerRan, run } from "./runner.mjs";

const QUEUE = "nothing";
// Some fetches at a time keep the database busy while the handlers of one run; a full batch is followed by the next at
// once with the burst option.
const THROUGHPUT = { batchSize: 1000, localConcurrency: 4, burstWhenBatchFull: true, pollingIntervalSeconds: 0.5 };
const LATENCY = { batchSize: 1, pollingIntervalSeconds: 0.5 };

async function install(url, mode, callers) {
  const boss = new PgBoss({
    connectionString: url,
    max: Math.min(Math.max(callers, 10), 100),
    useListenNotify: mode === "latency",
  });
  boss.on("error", (error) => console.error(error));
  await boss.start();
  await boss.createQueue(QUEUE, { notify: mode === "latency" });
  return {
    unfinished: `SELECT EXISTS (SELECT FROM pgboss.job WHERE name = '${QUEUE}' AND state < 'completed') AS unfinished`,
    finished: `SELECT count(*) FROM pgboss.job WHERE name = '${QUEUE}' AND state = 'completed'`,
    enqueue: (n) => boss.send(QUEUE, { n }),
    enqueueBatch: (size) => boss.insert(QUEUE, Array.from({ length: size }, (_, n) => ({ data: { n } }))),
    start: (purpose) =>
      boss.work(QUEUE, purpose === "throughput" ? THROUGHPUT : LATENCY, async (jobs) => {
        for (const _ of jobs) handlerRan();
      }),
  };
}

await run(install);
