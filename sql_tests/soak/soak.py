"""soak.py BINDIR DATA MINUTES SEED NEMESIS PRODUCERS SIGNAL_MS

Producers dispatch tasks, workers run them, and a nemesis does its worst to
the server, for some minutes; then the ledger, which is kept outside the
server, is compared with what has happened.  See scripts/soak.

The server runs without sweeps (asynctasq.sweep_interval is a day), so that a
task which no commit has announced is not found by chance: at the end nothing
may be left waiting but what came by COMMIT PREPARED, for which a sweep is
then allowed.
"""

import os
import signal
import sys
import threading
import time

import psycopg2

from ledger import transactions
from nemesis import Nemesis
from producer import ROLES, Producer
from server import LIMIT_S, Failure, Server, wait_until
from verdict import Verdict

ENOUGH_WAITING = 1500
DIFFERENCES_SHOWN = 30

WAITING = """
    SELECT asynctasq.msgpack_field_text(args, 'n')::bigint FROM asynctasq.task
"""


class Soak:
    def __init__(self, server, seed, mode, producers, signal_ms):
        self.server = server
        self.folder = os.path.join(os.path.dirname(server.data), "ledger")
        self.pause = threading.Event()
        self.differences = []
        os.mkdir(self.folder)
        self.prepare()
        self.nemesis = Nemesis(server, self.folder, seed, mode, signal_ms)
        self.producers = [Producer(server, self.folder, seed, number + 1,
                                   self.pause)
                          for number in range(producers)]

    def prepare(self):
        here = os.path.dirname(os.path.abspath(__file__))
        connection = psycopg2.connect(dbname="postgres", user="postgres")
        connection.autocommit = True
        connection.cursor().execute("CREATE DATABASE soak")
        connection.close()
        for role, name in [("postgres", "schema.sql"),
                           *((role, "handlers.sql") for role in ROLES)]:
            with open(os.path.join(here, name)) as file:
                connection = self.server.connect(role)
                connection.cursor().execute(file.read())
                connection.close()

    def run(self, seconds):
        """Until the time is over, or the nemesis has found the server unable
        to go on."""
        end = time.monotonic() + seconds
        control = None
        for thread in [self.nemesis, *self.producers]:
            thread.start()
        while time.monotonic() < end and self.nemesis.is_alive():
            try:
                control = control or self.server.connect()
                with control.cursor() as cursor:
                    cursor.execute("SELECT count(*) FROM asynctasq.task")
                    waiting = cursor.fetchone()[0]
                if waiting > ENOUGH_WAITING:
                    self.pause.set()
                else:
                    self.pause.clear()
            except psycopg2.Error:
                control = None
            self.nemesis.join(min(0.2, max(0, end - time.monotonic())))

    def end(self, thread):
        thread.stopping.set()
        thread.join(LIMIT_S)
        if thread.is_alive():
            raise Failure("%s hangs" % thread.name)

    def finish(self):
        """Ends what makes work, and waits until none is left."""
        self.end(self.nemesis)
        if self.nemesis.failure:
            raise Failure(self.nemesis.failure)
        for producer in self.producers:
            self.end(producer)
        control = self.server.wait_ready()
        self.finish_prepared(control)
        self.wait_quiet(control)
        return control

    def finish_prepared(self, control):
        """As the ledger says that it was to be."""
        known = transactions(self.folder)
        with control.cursor() as cursor:
            cursor.execute("SELECT gid FROM pg_prepared_xacts")
            for (gid,) in cursor.fetchall():
                way = known[int(gid.split("-")[1])].way
                cursor.execute("%s PREPARED %%s" % (
                    "COMMIT" if way == "prepare" else "ROLLBACK"), (gid,))

    def wait_quiet(self, control):
        """What is left after all is a difference; the sum tells more."""
        unannounced = {task[key] for transaction in
                       transactions(self.folder).values()
                       if transaction.way == "prepare"
                       for task in transaction.tasks
                       for key in ("n", "child") if key in task}
        with control.cursor() as cursor:
            def ask(query):
                cursor.execute(query)
                return [row[0] for row in cursor.fetchall()]

            def processes(kind):
                return ask("SELECT count(*) FROM pg_stat_activity "
                           "WHERE backend_type = 'asynctasq %s'" % kind)[0]

            self.wait_none(lambda: set(ask(WAITING)) - unannounced,
                           "waiting, though announced by a commit")
            cursor.execute("ALTER SYSTEM SET asynctasq.sweep_interval = '1 s'")
            cursor.execute("SELECT pg_reload_conf()")
            self.wait_none(lambda: set(ask(WAITING)), "waiting after a sweep")
            for kind, n in (("worker", 0), ("launcher", 1)):
                try:
                    wait_until(lambda: processes(kind) == n,
                               "there are %d of kind %s" % (n, kind))
                except Failure as failure:
                    self.differences.append(str(failure))

    def wait_none(self, left, what):
        """Until none is left; a time without any progress is the limit."""
        numbers = left()
        while numbers:
            before = numbers
            try:
                wait_until(lambda: left() != before, "some have ended")
            except Failure:
                self.differences.append(
                    "%d tasks are %s, with the numbers %s"
                    % (len(before), what, sorted(before)[:20]))
                return
            numbers = left()

    def judge(self, control):
        verdict = Verdict(self.folder, control)
        verdict.resolve()
        verdict.check_tasks()
        verdict.check_ids()
        verdict.check_said()
        for producer in self.producers:
            for surprise in producer.surprises:
                verdict.fail("%s saw %s", producer.name, surprise)
        self.server.stop()
        verdict.check_log(self.server.log, self.nemesis.killed,
                          sum(self.nemesis.done.values()))
        return verdict


def main(bindir, data, minutes, seed, mode, producers, signal_ms):
    server = Server(bindir, data)
    server.adopt()
    soak = Soak(server, seed, mode, producers, signal_ms)
    verdict = None
    differences = soak.differences
    try:
        soak.run(60 * minutes)
        verdict = soak.judge(soak.finish())
        differences += verdict.differences
    except Failure as failure:
        differences.append(str(failure))
    finally:
        soak.nemesis.stopping.set()
        soak.nemesis.join(LIMIT_S)
    print("soak: " + (", ".join("%d %s" % (n, what) for what, n in
                                sorted(soak.nemesis.done.items())) or "nothing")
          + " done to the server")
    if verdict is not None:
        verdict.show()
    for difference in differences[:DIFFERENCES_SHOWN]:
        print("soak: " + difference)
    if len(differences) > DIFFERENCES_SHOWN:
        print("soak: and %d more" % (len(differences) - DIFFERENCES_SHOWN))
    print("soak: %s (MINUTES=%g SEED=%s NEMESIS=%s)" % (
        "FAILED" if differences else "ok", minutes, seed, mode))
    return 1 if differences else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main(sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4],
                  sys.argv[5], int(sys.argv[6]), int(sys.argv[7])))
