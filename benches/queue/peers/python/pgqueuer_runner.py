"""The peer pgqueuer. Its rows are deleted when they succeed; a log row is kept for each transition."""

import asyncio

import asyncpg
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver, AsyncpgPoolDriver
from pgqueuer.queries import Queries

import runner

# Larger than the default of 10, as the peer's page on tuning says for short jobs.
BATCH_SIZE = 1000
ENTRYPOINT = "nothing"


class Pgqueuer(runner.Peer):
    """Producers on a pool, each consumer on a connection of its own, as the page on tuning says."""

    unfinished = "SELECT EXISTS (SELECT FROM pgqueuer)"
    finished = "SELECT count(*) FROM pgqueuer_log WHERE status = 'successful'"

    async def install(self, url, mode, callers):
        self.url = url
        pool = await asyncpg.create_pool(url, min_size=2, max_size=min(max(callers, 4), 100))
        self.queries = Queries(AsyncpgPoolDriver(pool))
        await self.queries.install()

    async def enqueue(self, number):
        await self.queries.enqueue(ENTRYPOINT, b'{"n": 0}')

    async def enqueue_batch(self, size):
        await self.queries.enqueue([ENTRYPOINT] * size, [b'{"n": 0}'] * size, [0] * size)

    async def start(self, latency):
        consumer = PgQueuer(AsyncpgDriver(await asyncpg.connect(self.url)))

        @consumer.entrypoint(ENTRYPOINT)
        async def nothing(_job):
            runner.handler_ran()

        # Kept, since the event loop holds no task strongly.
        self.consumer = asyncio.create_task(consumer.run(batch_size=10 if latency else BATCH_SIZE))


runner.run(Pgqueuer())
