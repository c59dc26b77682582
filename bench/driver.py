"""Databases, and the contestants that run jobs in them.

Each contestant has a template database, made once.  Each measurement works in
a copy of it named bench, so that none sees what another one has left.
"""

import json
import os
import subprocess
import sys

PLACE = os.environ["BENCH_PLACE"]
HERE = os.path.dirname(os.path.abspath(__file__))


def die(message):
    sys.exit("bench: " + message)


# ---- databases ----

def psql_command(db, user):
    return ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", db, "-U", user]


def psql(sql, db="bench", user="bench", variables=None):
    """Runs statements, and returns what they print."""
    command = psql_command(db, user)
    for name, value in (variables or {}).items():
        command += ["-v", f"{name}={value}"]
    done = subprocess.run(command, input=sql, capture_output=True, text=True)
    if done.returncode != 0:
        die(f"failed:\n{sql}\n{done.stderr}")
    return done.stdout.strip()


def admin(*statements, db="postgres"):
    return psql(";\n".join(statements), db=db, user="postgres")


def read(name):
    with open(os.path.join(HERE, "contestants", name)) as file:
        return file.read()


class HeldSnapshot:
    """A session that holds a snapshot of the database as long as it lives."""

    def __enter__(self):
        self.psql = subprocess.Popen(psql_command("bench", "bench"), stdin=subprocess.PIPE,
                                     stdout=subprocess.PIPE, text=True)
        self.psql.stdin.write("BEGIN ISOLATION LEVEL REPEATABLE READ;\n"
                              "SELECT 'held' FROM bench.item WHERE id = 1;\n")
        self.psql.stdin.flush()
        if self.psql.stdout.readline().strip() != "held":
            die("could not hold a snapshot")

    def __exit__(self, *exception):
        self.psql.stdin.close()
        self.psql.wait()


# ---- contestants ----

class Contestant:
    """sync is the synchronous_commit of its workers as its makers advise it."""

    def __init__(self, name, title, sync):
        self.name = name
        self.title = title
        self.sync = sync
        self.made = False

    def make_template(self):
        template = "template_" + self.name
        admin(f"CREATE DATABASE {template} OWNER bench")
        psql(read("common.sql"), db=template)
        self.install(template)
        admin("GRANT ALL ON ALL TABLES IN SCHEMA bench TO bench",
              "GRANT ALL ON ALL SEQUENCES IN SCHEMA bench TO bench",
              "VACUUM (FREEZE, ANALYZE)", db=template)
        self.made = True

    def fresh(self, workers=1, sync="on"):
        """Leaves an unused database bench."""
        if not self.made:
            self.make_template()
        admin("DROP DATABASE IF EXISTS bench WITH (FORCE)",
              f"ALTER SYSTEM SET asynctasq.synchronous_commit = {sync}",
              f"ALTER SYSTEM SET asynctasq.workers_per_lane = {workers}",
              "SELECT pg_reload_conf()",
              f"CREATE DATABASE bench TEMPLATE template_{self.name} OWNER bench",
              f"ALTER DATABASE bench SET synchronous_commit = {sync}",
              f"ALTER DATABASE bench SET bench.workers = {workers}")
        self.workers = workers
        self.filled = 0

    def fill(self, job, count):
        """Puts jobs into the queue; nothing runs them yet."""
        self.put(job, self.filled, count)
        self.filled += count
        admin("ANALYZE", "CHECKPOINT", db="bench")

    def run(self, job, count):
        """Runs what fill() has put there, and returns the rate per second."""
        effects = "SELECT count(*) FROM bench.effect"
        before = int(psql(effects)) if job.startswith("real") else 0
        seconds = self.consume(job, count)
        if job.startswith("real") and int(psql(effects)) != before + count:
            die(f"{self.name}: not each job has had its effect once")
        if int(psql("SELECT bench.left_over()")) != 0:
            die(f"{self.name}: jobs are left over")
        return count / seconds


class SqlContestant(Contestant):
    """A queue whose workers are procedures, each in a session of its own."""

    def __init__(self, name, title, file, variables=None):
        super().__init__(name, title, "off")
        self.file = file
        self.variables = variables

    def install(self, template):
        psql(read(self.file), db=template, user="postgres", variables=self.variables)

    def put(self, job, first, count):
        psql(f"CALL bench.fill('{job}', {first}, {count})")

    def consume(self, job, count):
        clock = "SELECT extract(epoch FROM clock_timestamp());\n"
        sessions = []
        for worker in range(1, self.workers + 1):
            session = subprocess.Popen(psql_command("bench", "bench"), stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE, text=True)
            session.stdin.write(f"{clock}CALL bench.work('{job}', {worker});\n{clock}")
            sessions.append(session)
        for session in sessions:
            session.stdin.close()
        times = []
        for session in sessions:
            times.append([float(line) for line in session.stdout])
            if session.wait() != 0:
                die(f"{self.name}: a worker failed")
        return max(end for _, end in times) - min(start for start, _ in times)


class NodeContestant(Contestant):
    """A library for Node; each worker is a process."""

    def command(self, *words):
        return [f"{PLACE}/peers/bin-node", f"{PLACE}/peers/{self.name}.mjs", *map(str, words)]

    def environment(self, db="bench"):
        return {**os.environ, "PGDATABASE": db, "PGUSER": "bench"}

    def install(self, template):
        self.call(self.command("install"), template)

    def put(self, job, first, count):
        self.call(self.command("fill", job, first, count), "bench")

    def call(self, command, db):
        done = subprocess.run(command, env=self.environment(db), capture_output=True, text=True)
        if done.returncode != 0:
            die(f"{self.name}: {done.stderr}")

    def consume(self, job, count):
        processes = [subprocess.Popen(self.command("work", job), env=self.environment(),
                                      stdout=subprocess.PIPE, text=True)
                     for _ in range(self.workers)]
        results = []
        for process in processes:
            output = process.communicate()[0]
            if process.returncode != 0:
                die(f"{self.name}: a worker failed")
            results.append(json.loads(output))
        if sum(done for done, _, _ in results) != count:
            die(f"{self.name}: {results} instead of {count} jobs")
        results = [result for result in results if result[0] > 0]
        return max(last for _, _, last in results) - min(first for _, first, _ in results)


class Asynctasq(Contestant):
    """The extension; workers are its own, their number is its setting."""

    def __init__(self, name, title, durable):
        super().__init__(name, title, "off")
        self.durable = durable

    def install(self, template):
        psql(read("asynctasq.sql"), db=template, user="postgres",
             variables={"durable": "true" if self.durable else "false"})

    def fresh(self, workers=1, sync="on"):
        super().fresh(workers, sync)
        psql(f"CALL bench.warm_up({workers})")
        self.prepared = set()

    def put(self, job, first, count):
        if job not in self.prepared:
            psql(f"SELECT bench.prepare('{job}')")
            self.prepared.add(job)
        psql("SELECT asynctasq.pause_queue('jobs')")
        psql(f"CALL bench.fill('{job}', {first}, {count})")

    def consume(self, job, count):
        clock = "SELECT extract(epoch FROM clock_timestamp());\n"
        before = self.tasks_done()
        output = psql(f"{clock}CALL bench.run({count});\n{clock}")
        start, end = map(float, output.split())
        if job == "real_group":
            self.check_grouped(count)
        shares = [done - before.get(pid, 0) for pid, done in self.tasks_done().items()]
        if min(shares) < count / self.workers / 2:
            print(f"  note: the workers of {job}/{self.name} shared its {count} tasks as {shares}",
                  file=sys.stderr)
        return end - start

    def tasks_done(self):
        rows = psql("SELECT pid, tasks_done FROM asynctasq.stat_workers "
                    "WHERE database = 'bench' AND role = 'bench'")
        return {pid: int(done) for pid, done in (row.split("|") for row in rows.splitlines())}

    def check_grouped(self, count):
        transactions = int(psql("SELECT count(DISTINCT xmin::text) FROM bench.effect"))
        if transactions > count / 10:
            die(f"{count} tasks of a group_size of 60 took {transactions} transactions")

    def worker_pid(self):
        return int(*self.tasks_done())


CONTESTANTS = {contestant.name: contestant for contestant in [
    SqlContestant("no_queue", "no queue: a PL/pgSQL loop, one transaction", "no_queue.sql"),
    Asynctasq("asynctasq", "asynctasq", durable=False),
    Asynctasq("asynctasq_durable", "asynctasq, durable queue", durable=True),
    SqlContestant("hand_written", "hand-written loop, unlogged table", "hand_written.sql",
                  {"persistence": "UNLOGGED"}),
    SqlContestant("hand_written_logged", "hand-written loop, logged table", "hand_written.sql",
                  {"persistence": ""}),
    SqlContestant("pgq", "PgQ", "pgq.sql"),
    NodeContestant("graphile_worker", "graphile-worker", "on"),
    NodeContestant("pg_boss", "pg-boss", "on"),
]}
