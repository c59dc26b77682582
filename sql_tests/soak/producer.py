"""A client that dispatches tasks in transactions of its own.

What it does next is drawn from the seed.  It ends each transaction in one of
several ways, and whatever happens to its connection it knows afterwards, or
the marker row tells, whether the transaction has committed.
"""

import random
import threading
import time

import psycopg2

from ledger import Ledger

ROLES = ("north", "south")
QUEUES = {"default": False, "bulk": False, "safe": True, "vault": True}
# Room for the numbers of one producer's transactions and tasks.
NUMBERS = 10 ** 9

# What the nemesis does to a session, and nothing else.  Without a code it is
# libpq that has lost the server.
CANCELLED = "57014"
ENDED = ("57P01", "57P02", "57P03", None)
BUSY = "55000"


class Lost(Exception):
    """The connection is gone."""


class Refused(Exception):
    """A statement was cancelled: the transaction has not committed."""


class Producer(threading.Thread):
    def __init__(self, server, folder, seed, number, pause):
        super().__init__(name="producer %d" % number, daemon=True)
        self.server = server
        self.random = random.Random("%s producer %d" % (seed, number))
        self.role = ("clerk", "clerk", "north", "south")[number % 4]
        self.ledger = Ledger(folder, "producer%d" % number)
        self.next_number = number * NUMBERS
        self.pause = pause          # an Event: there is enough work waiting
        self.stopping = threading.Event()
        self.connection = None
        self.surprises = []

    # ---- the connection ----

    def run(self):
        while not self.stopping.is_set():
            try:
                if self.connection is None:
                    self.connect()
                elif self.pause.is_set():
                    self.stopping.wait(0.05)
                else:
                    self.transaction()
                    self.stopping.wait(self.random.expovariate(40))
            except Lost:
                self.disconnect()
        self.disconnect()

    def connect(self):
        try:
            self.connection = self.server.connect(self.role, "soak producer")
        except psycopg2.OperationalError:
            self.stopping.wait(0.05)

    def disconnect(self):
        if self.connection is not None:
            self.connection.close()
        self.connection = None

    def execute(self, statement, parameters=None):
        try:
            with self.connection.cursor() as cursor:
                cursor.execute(statement, parameters)
                if cursor.description is None:
                    return cursor.statusmessage
                return cursor.fetchall()
        except psycopg2.Error as error:
            if self.connection.closed or error.pgcode in ENDED:
                raise Lost from error
            if error.pgcode not in (CANCELLED, BUSY):
                self.surprises.append("%s: %s" % (error.pgcode, error))
            raise Refused from error

    # ---- one transaction ----

    def number(self):
        self.next_number += 1
        return self.next_number

    def transaction(self):
        way = self.random.choices(
            ("single", "commit", "rollback", "disconnect", "prepare",
             "prepare rollback"), (30, 50, 6, 2, 6, 2))[0]
        tx = self.number()
        if way == "single":
            self.single(tx)
            return
        began = time.time()
        try:
            self.execute("BEGIN")
            self.execute("INSERT INTO soak.marker VALUES (%s)", (tx,))
            tasks = self.dispatch_some()
        except Refused:
            self.roll_back()
            return
        self.ledger.write(what="intent", tx=tx, began=began, way=way,
                          tasks=tasks)
        outcome = self.end(tx, way)
        self.ledger.write(what="outcome", tx=tx, outcome=outcome)
        if outcome == "unknown":
            raise Lost

    def roll_back(self):
        try:
            self.execute("ROLLBACK")
        except Refused:
            raise Lost from None

    def end(self, tx, way):
        """Ends the transaction; its outcome, as far as this session knows."""
        if way == "disconnect":
            self.disconnect()
            return "rolled back"
        if way.startswith("prepare"):
            return self.end_prepared("soak-%d" % tx, way)
        try:
            done = self.execute("COMMIT" if way == "commit" else "ROLLBACK")
        except Lost:
            return "rolled back" if way == "rollback" else "unknown"
        except Refused:
            self.roll_back()
            return "rolled back"
        return "committed" if done == "COMMIT" else "rolled back"

    def end_prepared(self, gid, way):
        try:
            self.execute("PREPARE TRANSACTION %s", (gid,))
        except Lost:
            pass
        except Refused:
            self.roll_back()
            return "rolled back"
        # Another session ends it, at times after a crash.
        self.disconnect()
        self.stopping.wait(self.random.choice((0, 0, self.random.uniform(0, 3))))
        verb, outcome = (("COMMIT", "committed") if way == "prepare"
                         else ("ROLLBACK", "rolled back"))
        while not self.stopping.is_set():
            try:
                if self.connection is None:
                    self.connect()
                elif not self.execute("SELECT FROM pg_prepared_xacts WHERE gid = %s", (gid,)):
                    return "unknown"
                else:
                    self.execute(verb + " PREPARED %s", (gid,))
                    return outcome
            except Lost:
                self.disconnect()
            except Refused:
                pass
        return "unknown"

    def single(self, tx):
        """The dispatch of one task, a transaction by itself."""
        task = self.make_task()
        statement, parameters = self.dispatch_call("dispatch", task,
                                                   self.arguments(task))
        self.ledger.write(what="intent", tx=tx, began=time.time(),
                          way="single", tasks=[task])
        ids = []
        try:
            ids = self.execute(
                "WITH marker AS (INSERT INTO soak.marker VALUES (%%s)) %s" %
                statement, (tx, *parameters))[0]
            outcome = "committed"
        except Lost:
            outcome = "unknown"
        except Refused:
            outcome = "rolled back"
        self.ledger.write(what="outcome", tx=tx, outcome=outcome, ids=ids)
        if outcome == "unknown":
            raise Lost

    # ---- tasks ----

    def dispatch_some(self):
        """A few tasks, or many at once; at times a savepoint takes some back."""
        tasks = []
        if self.random.random() < 0.1:
            return self.dispatch_many(self.random.randint(10, 100))
        for _ in range(self.random.randint(1, 4)):
            undo = self.random.random() < 0.05
            if undo:
                self.execute("SAVEPOINT s")
            task = self.make_task()
            statement, parameters = self.dispatch_call(
                "dispatch", task, self.arguments(task))
            task["id"] = self.execute(statement, parameters)[0][0]
            if undo:
                self.execute("ROLLBACK TO s")
                task["undone"] = True
            tasks.append(task)
        return tasks

    def dispatch_many(self, n):
        first = self.make_task()
        tasks = [first]
        for _ in range(n - 1):
            tasks.append(self.number_task(dict(first)))
        statement, parameters = self.dispatch_call(
            "dispatch_many", first, [self.arguments(task) for task in tasks])
        for task, row in zip(tasks, self.execute(statement, parameters)):
            task["id"] = row[0]
        return tasks

    def make_task(self):
        """A task as the ledger has it: what is to come of it, and where."""
        draw = self.random
        kind = draw.choices(
            ("note", "kept", "group", "batch", "fails", "slow", "dies",
             "chains", "doomed", "bad group", "bad batch"),
            (300, 50, 150, 150, 60, 25, 2, 40, 15, 10, 10))[0]
        queue = draw.choice(tuple(QUEUES))
        if kind == "chains":
            queue = draw.choice(("safe", "vault"))
        return self.number_task({
            "kind": kind,
            "role": draw.choice(ROLES) if self.role == "clerk" else self.role,
            "queue": queue,
            "durable": QUEUES[queue],
            "priority": draw.choice((None, None, None, -5, 5)),
            "delay": draw.uniform(0.05, 3) if draw.random() < 0.1 else None,
            "dead": kind in ("doomed", "bad group", "bad batch"),
        })

    def number_task(self, task):
        task["n"] = self.number()
        if task["kind"] == "chains":
            task["child"] = self.number()
        return task

    def arguments(self, task):
        kind = task["kind"]
        more = {
            "slow": ("seconds", self.random.uniform(0.01, 0.2)),
            "fails": ("times", self.random.randint(1, 3)),
            "doomed": ("times", 1000000),
            "group": ("times", 0),
            "bad group": ("times", 1000000),
            "batch": ("bad", False),
            "bad batch": ("bad", True),
            "chains": ("child", task.get("child")),
        }.get(kind)
        return ("n", task["n"]) + (more or ())

    def dispatch_call(self, function, task, arguments):
        """The statement that dispatches the task, and its parameters."""
        handler = {"doomed": "fails", "bad group": "group",
                   "bad batch": "batch"}.get(task["kind"], task["kind"])
        each = arguments if isinstance(arguments, list) else [arguments]
        calls = ", ".join("asynctasq.args(%s)" % ", ".join(["%s"] * len(one))
                          for one in each)
        if function == "dispatch_many":
            calls = "ARRAY[%s]" % calls
        return (
            "SELECT asynctasq.%s(%%s, %s, queue => %%s, priority => %%s, "
            "delay => %%s * interval '1 s', max_attempts => %%s)"
            % (function, calls),
            (task["role"] + "." + handler, *(v for one in each for v in one),
             task["queue"], task["priority"], task["delay"],
             2 if task["dead"] else None))
