// graphile-worker, with the fastest settings of its performance page: 24 jobs
// at a time, a local queue of 500, completions in batches without a delay.
// Handlers use its own pool and prepared statements.

import { Logger, run, runMigrations } from "graphile-worker";
import pg from "pg";
import { isEmpty, main, noteStart, realJob, Stopwatch, untilStdinEnds } from "./common.mjs";

process.env.NO_LOG_SUCCESS = "1";

function fail(error) {
	console.error(error);
	process.exit(1);
}

const pgPool = new pg.Pool({ max: 25 });
pgPool.on("error", fail);
pgPool.on("connect", (client) => client.on("error", fail));
const logger = new Logger(() => (level, message) => {
	if (level === "error") console.error(message);
});
const preset = {
	worker: {
		concurrentJobs: 24,
		maxPoolSize: 25,
		localQueue: { size: 500 },
		completeJobBatchDelay: 0,
		failJobBatchDelay: 0,
	},
};

function start(watch) {
	const job = (work) => async (payload, helpers) => {
		watch.start(1);
		await work(payload, helpers);
		watch.end(1);
	};

	return run({
		preset, pgPool, logger,
		taskList: {
			noop: job(async () => {}),
			real: job((payload, helpers) =>
				helpers.withPgClient((client) => client.query(realJob(payload.item)))),
			ping: (payload, helpers) =>
				helpers.withPgClient((client) => client.query(noteStart(payload.sent))),
		},
	});
}

await main({
	async install() {
		await runMigrations({ pgPool, logger });
		await pgPool.query(`
			CREATE FUNCTION bench.left_over() RETURNS bigint LANGUAGE sql
				AS 'SELECT count(*) FROM graphile_worker._private_jobs';
			CREATE FUNCTION bench.ping(sent timestamptz) RETURNS void LANGUAGE sql AS $$
				SELECT FROM graphile_worker.add_job('ping', json_build_object('sent', sent));
			$$`);
	},

	async fill(job, first, count) {
		await pgPool.query({
			text: `SELECT FROM graphile_worker.add_jobs(ARRAY(
				SELECT json_populate_record(NULL::graphile_worker.job_spec,
					json_build_object('identifier', $1::text,
						'payload', json_build_object('item', 1 + i % 100000)))
				FROM generate_series($2::int, $2::int + $3::int - 1) AS i))`,
			values: [job, first, count],
		});
	},

	async work() {
		const watch = new Stopwatch();
		const runner = await start(watch);
		const result = await watch.untilDone(isEmpty(pgPool));

		await runner.stop();
		return result;
	},

	async serve() {
		const runner = await start(new Stopwatch());

		console.log("ready");
		await untilStdinEnds();
		await runner.stop();
	},
});
