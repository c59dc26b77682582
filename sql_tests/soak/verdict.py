"""The sum at the end: the ledger against what the database holds.

A task is expected to have happened if the transaction that dispatched it has
committed: one effect, or one dead letter where that was the plan.

    lost        expected, and neither is there
    unexpected  there, and not expected: its transaction was rolled back, it is
                the other of the two, or its id is not the one that was given
    duplicated  more than one

A task of an unlogged queue may be lost, if a crash explains it.
"""

import collections
import re

import ledger

KEYS = ("dispatched", "effects", "dead letters", "lost", "by crashes",
        "unexpected", "duplicated")
# Messages that handlers make on purpose, or clients that want to connect too
# early.
EXPECTED = re.compile(r"soak: (no luck|bad batch)| 57P03 ")
PROBLEM = re.compile(
    r"PANIC|TRAP:|stuck spinlock|terminated by signal (?!9\b)|"
    r"XX000|could not recover|invalid page|corrupt")
KILLED = re.compile(r"\(PID (\d+)\) was terminated by signal 9")
# How many lines of one kind each thing that was done may make, at most.
LINES_EACH = 10


class Verdict:
    def __init__(self, folder, control):
        self.control = control
        self.transactions = ledger.transactions(folder)
        self.crashes = ledger.crashes(folder)
        for crash in self.crashes:
            crash["census"] = set(crash["census"])
        self.differences = []
        self.errors = {}        # of dead letters, by number
        self.rows = {}

    def query(self, statement):
        with self.control.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()

    def fail(self, what, *arguments):
        self.differences.append(what % arguments)

    # ---- tasks ----

    def resolve(self):
        """What became of transactions: the marker decides what is unknown."""
        markers = {tx for (tx,) in self.query("SELECT tx FROM soak.marker")}
        for transaction in self.transactions.values():
            there = transaction.tx in markers
            if transaction.outcome == "unknown":
                transaction.outcome = "committed" if there else "rolled back"
            elif there != (transaction.outcome == "committed"):
                self.fail("transaction %d was said to be %s and is not",
                          transaction.tx, transaction.outcome)

    def tasks(self):
        """Every task of the ledger, with its transaction and whether it was
        dispatched in the end; then the task that it dispatches itself."""
        for transaction in self.transactions.values():
            for task in transaction.tasks:
                committed = (transaction.outcome == "committed"
                             and not task.get("undone"))
                yield task, transaction, committed
                if "child" in task:
                    yield (dict(task, n=task["child"], kind="child", queue="safe",
                                id=None), transaction, committed)

    def check_tasks(self):
        effects = collections.Counter()
        ids = {}
        for n, id in self.query("SELECT n, id FROM soak.effect"):
            effects[n] += 1
            ids[n] = id
        dead = collections.Counter()
        for n, error in self.query(
                "SELECT asynctasq.msgpack_field_text(args, 'n')::bigint, "
                "error::text FROM asynctasq.dead_letter"):
            dead[n] += 1
            self.errors[n] = error
        kept = collections.Counter(n for (n,) in self.query(
            "SELECT asynctasq.msgpack_field_text(args, 'n')::bigint "
            "FROM asynctasq.result"))
        known = set()
        for task, transaction, committed in self.tasks():
            n = task["n"]
            known.add(n)
            self.check_task(task, transaction, committed, effects[n], dead[n],
                            ids.get(n), kept[n])
        for n in (effects.keys() | dead.keys()) - known:
            self.fail("unexpected: number %d is not in the ledger", n)

    def check_task(self, task, transaction, committed, effects, dead, id, kept):
        row = self.rows.setdefault(task["durable"], dict.fromkeys(KEYS, 0))
        happened, other = (dead, effects) if task["dead"] else (effects, dead)
        row["dispatched"] += committed
        row["effects"] += effects
        row["dead letters"] += dead
        if committed and not happened:
            row["lost"] += 1
            if not task["durable"] and self.explained(task, transaction):
                row["by crashes"] += 1
                task["crashed"] = True
            else:
                self.name("lost", task, transaction)
        if other or (happened and not committed):
            row["unexpected"] += 1
            self.name("unexpected", task, transaction)
        if happened > 1:
            row["duplicated"] += 1
            self.name("duplicated", task, transaction)
        if id is not None and task.get("id") is not None and id != task["id"]:
            self.fail("task %d, number %d, ran as task %d",
                      task["id"], task["n"], id)
        if kept != (effects if task["kind"] == "kept" else 0):
            self.fail("number %d has %d effects and %d kept results",
                      task["n"], effects, kept)

    def explained(self, task, transaction):
        """Whether a crash found the task waiting, running, or on its way."""
        return any(task["n"] in crash["census"] or
                   (transaction.began <= crash["end"] and
                    transaction.ended >= crash["start"])
                   for crash in self.crashes)

    def name(self, what, task, transaction):
        self.fail("%s: task %s, number %d, %s in queue %s of %s, transaction "
                  "%d (%s) of producer %d, %s", what, task.get("id"),
                  task["n"], task["kind"], task["queue"], task["role"],
                  transaction.tx, transaction.way, transaction.tx // 10 ** 9,
                  transaction.outcome)
        if task["n"] in self.errors:
            self.fail("its dead letter: %s", self.errors[task["n"]])

    def check_ids(self):
        """No id that a client was told is told again, also where the first
        transaction did not commit."""
        seen = {}
        for task, _, _ in self.tasks():
            id = task.get("id")
            if id is not None:
                if id in seen:
                    self.fail("id %d was given to numbers %d and %d",
                              id, seen[id], task["n"])
                seen[id] = task["n"]

    def check_said(self):
        """A queue that lost tasks says so."""
        said = {(role, queue) for role, queue in self.query(
            "SELECT owner::text, queue FROM asynctasq.stat_queues "
            "WHERE lost_at IS NOT NULL")}
        silent = {(task["role"], task["queue"])
                  for transaction in self.transactions.values()
                  for task in transaction.tasks if task.get("crashed")} - said
        for role, queue in sorted(silent):
            self.fail("queue %s of %s has lost tasks in a crash and does not "
                      "say so", queue, role)

    # ---- the log ----

    def check_log(self, path, killed, done):
        lines = collections.Counter()
        with open(path, errors="replace") as file:
            for line in file:
                if PROBLEM.search(line):
                    self.fail("log: %s", line.strip())
                match = KILLED.search(line)
                if match and int(match.group(1)) not in killed:
                    self.fail("log: %s", line.strip())
                message = re.search(r"(ERROR|FATAL|WARNING|LOG):  .*", line)
                if message and not EXPECTED.search(line):
                    lines[re.sub(r"\d+|\"[^\"]*\"", "#", message.group())] += 1
        limit = LINES_EACH * (20 + done)
        for message, n in lines.items():
            if n > limit:
                self.fail("log: %d times, of at most %d: %s", n, limit, message)

    # ---- the end ----

    def show(self):
        print("%-10s" % "queues" + "".join("%14s" % key for key in KEYS))
        for durable in (True, False):
            row = self.rows.get(durable, dict.fromkeys(KEYS, 0))
            print("%-10s" % ("durable" if durable else "unlogged") +
                  "".join("%14d" % row[key] for key in KEYS))
