// The peer Graphile Worker for Node. Its rows are deleted when they succeed.

import { Logger, makeWorkerUtils, run as startWorker, runMigrations } from "graphile-worker";
import pg from "pg";

import { handlerRan, run } from "./runner.mjs";

// As in the peer's own benchmark and its page on performance, but for a larger local queue: 500 was half as fast here.
const CONCURRENT_JOBS = 24;
const THROUGHPUT = {
  concurrentJobs: CONCURRENT_JOBS,
  localQueue: { size: 5000, refetchDelay: { durationMs: 10 } },
  completeJobBatchDelay: 0,
  failJobBatchDelay: 0,
};
// Its page on performance: no local queue where a job must start at once.
const LATENCY = { concurrentJobs: 4, completeJobBatchDelay: 0, failJobBatchDelay: 0 };

const quiet = new Logger(() => () => {});

async function install(url, mode, callers) {
  const pgPool = new pg.Pool({ connectionString: url, max: Math.min(Math.max(callers, CONCURRENT_JOBS + 1), 100) });
  // It warns of a pool without handlers of errors.
  pgPool.on("error", (error) => console.error(error));
  pgPool.on("connect", (client) => client.on("error", (error) => console.error(error)));
  await runMigrations({ pgPool, logger: quiet });
  const utilities = await makeWorkerUtils({ pgPool, logger: quiet });
  return {
    unfinished: "SELECT EXISTS (SELECT FROM graphile_worker._private_jobs) AS unfinished",
    enqueue: (n) => utilities.addJob("nothing", { n }),
    enqueueBatch: (size) =>
      utilities.addJobs(Array.from({ length: size }, (_, n) => ({ identifier: "nothing", payload: { n } }))),
    start: (purpose) =>
      startWorker({
        pgPool,
        logger: quiet,
        noHandleSignals: true,
        taskList: { nothing: handlerRan },
        preset: { worker: purpose === "throughput" ? THROUGHPUT : LATENCY },
      }),
  };
}

await run(install);
