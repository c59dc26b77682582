// pg-boss: four workers (localConcurrency), each with batches of 1,000 and the
// next one fetched at once while they come full (burstWhenBatchFull).  A batch,
// its SQL calls and its completion are one transaction (transactional), which
// is faster here than SQL calls side by side over a pool.

import pg from "pg";
import { PgBoss } from "pg-boss";
import { isEmpty, main, realJob, Stopwatch } from "./common.mjs";

const pool = new pg.Pool({ max: 1 });
const boss = new PgBoss({
	host: process.env.PGHOST, port: Number(process.env.PGPORT),
	user: process.env.PGUSER, database: process.env.PGDATABASE,
	max: 10,
});

boss.on("error", (error) => {
	console.error(error);
	process.exit(1);
});

const handlers = {
	noop: async () => {},
	real: async (jobs, db) => {
		for (const job of jobs) {
			const { text, values } = realJob(job.data.item);

			await db.executeSql(text, values);
		}
	},
};

async function start(job, watch) {
	await boss.start();
	watch.begin();
	await boss.work(job, {
		batchSize: 1000, burstWhenBatchFull: true, localConcurrency: 4,
		transactional: true, pollingIntervalSeconds: 0.5,
	}, async (jobs, db) => {
		watch.start(jobs.length);
		await handlers[job](jobs, db);
		watch.end(jobs.length);
	});
}

await main({
	async install() {
		await boss.start();
		await boss.createQueue("noop");
		await boss.createQueue("real");
		await pool.query(`
			CREATE FUNCTION bench.left_over() RETURNS bigint LANGUAGE sql
				AS $$SELECT count(*) FROM pgboss.job
					WHERE name IN ('noop', 'real') AND state < 'completed'$$`);
	},

	async fill(job, first, count) {
		await boss.start();
		for (let start = first; start < first + count; start += 10000) {
			const length = Math.min(10000, first + count - start);

			await boss.insert(job, Array.from({ length },
				(_, i) => ({ data: { item: 1 + (start + i) % 100000 } })));
		}
	},

	async work(job) {
		const watch = new Stopwatch();

		await start(job, watch);
		const result = await watch.untilDone(isEmpty(pool));
		await boss.stop();
		return result;
	},
});
