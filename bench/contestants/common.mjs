// What the contestants that run in Node share.
//
//   node NAME.mjs install            creates what the library needs in the database
//   node NAME.mjs fill JOB FIRST COUNT
//   node NAME.mjs work JOB           runs jobs until there are none; prints
//                                    [count, first start, last end]
//   node NAME.mjs serve              runs pings until its standard input ends
//
// The database is that of PGHOST, PGPORT, PGUSER and PGDATABASE.

const IDLE_MS = 300;

// The job that does something, as one prepared statement.
export const realJob = (id) => ({
	name: "real",
	text: "INSERT INTO bench.effect SELECT id, name FROM bench.item WHERE id = $1",
	values: [id],
});

export const noteStart = (sent) => ({
	name: "note_start",
	text: "SELECT bench.note_start($1)",
	values: [sent],
});

const now = () => (performance.timeOrigin + performance.now()) / 1000;

// Counts the jobs of one process and notes when the first began and the last
// ended.
export class Stopwatch {
	running = 0;
	count = 0;
	first = null;
	last = now();

	begin() {
		this.first ??= now();
	}

	start(jobs) {
		this.begin();
		this.running += jobs;
	}

	end(jobs) {
		this.running -= jobs;
		this.count += jobs;
		this.last = now();
	}

	// Until nothing has run for a while and the queue is empty.
	async untilDone(isEmpty) {
		do {
			await new Promise((resolve) => setTimeout(resolve, IDLE_MS));
		} while (this.running > 0 || now() - this.last < IDLE_MS / 1000 || !await isEmpty());
		return [this.count, this.first, this.last];
	}
}

export const isEmpty = (pool) => async () =>
	(await pool.query("SELECT bench.left_over() = 0 AS empty")).rows[0].empty;

export async function untilStdinEnds() {
	process.stdin.resume();
	await new Promise((resolve) => process.stdin.on("end", resolve));
}

export async function main(commands) {
	const [command, job, first, count] = process.argv.slice(2);
	const result = await commands[command](job, Number(first), Number(count));

	if (result !== undefined) console.log(JSON.stringify(result));
	process.exit(0);
}
