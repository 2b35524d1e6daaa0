"""The peer procrastinate."""

import asyncio
import logging

import procrastinate

import runner

# The worker fetches one job at a time; more concurrency lets it fetch while others complete.
CONCURRENCY = 32

logging.disable(logging.CRITICAL)


class Procrastinate(runner.Peer):
    """An application with one task."""

    unfinished = "SELECT EXISTS (SELECT FROM procrastinate_jobs WHERE status IN ('todo', 'doing'))"
    finished = "SELECT count(*) FROM procrastinate_jobs WHERE status = 'succeeded'"

    async def install(self, url, mode, callers):
        connector = procrastinate.PsycopgConnector(conninfo=url, min_size=4, max_size=min(max(callers, 20), 100))
        self.application = procrastinate.App(connector=connector)

        @self.application.task(name="nothing")
        async def nothing(n):
            runner.handler_ran()

        self.task = nothing
        await self.application.open_async()
        await self.application.schema_manager.apply_schema_async()

    async def enqueue(self, number):
        await self.task.defer_async(n=number)

    async def enqueue_batch(self, size):
        await self.task.batch_defer_async(*({"n": number} for number in range(size)))

    async def start(self, latency):
        worker = self.application.run_worker_async(concurrency=CONCURRENCY, install_signal_handlers=False)
        # Kept, since the event loop holds no task strongly.
        self.worker = asyncio.create_task(worker)


runner.run(Procrastinate())
