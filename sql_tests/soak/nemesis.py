"""What is done to the server while it works; all of it drawn from the seed.

signals  SIGTERM, SIGINT, SIGHUP, SIGSTOP with SIGCONT later,
         pg_terminate_backend and pg_cancel_backend, to workers, the launcher
         and the producers' sessions; fast restarts.  No task may be lost.
crashes  SIGKILL to a worker, a session, the launcher or an auxiliary process;
         an immediate stop; SIGKILL to the postmaster.  Just before, a census is
         taken of the tasks whose loss the crash explains: those that wait or
         run, and those that ended so shortly before that their commit may not
         have been flushed.
"""

import collections
import heapq
import itertools
import random
import signal
import threading
import time

import psycopg2

from ledger import Ledger
from server import Failure, wait_until

CENSUS = """
    SELECT asynctasq.msgpack_field_text(args, 'n')::bigint FROM asynctasq.task
    UNION
    SELECT n FROM soak.effect WHERE at > clock_timestamp() - interval '20 s'
    UNION
    SELECT asynctasq.msgpack_field_text(args, 'n')::bigint
    FROM asynctasq.dead_letter WHERE failed_at > clock_timestamp() - interval '20 s'
"""
TARGETS = {
    "worker": "backend_type = 'asynctasq worker'",
    "launcher": "backend_type = 'asynctasq launcher'",
    "session": "application_name = 'soak producer'",
    "auxiliary": "backend_type IN ('checkpointer', 'walwriter', 'background writer', 'autovacuum launcher')",
}
# (weight, what, to whom)
SIGNALS = (
    (20, "SIGTERM", "worker"), (20, "SIGINT", "worker"),
    (10, "SIGSTOP", "worker"), (5, "SIGHUP", "worker"),
    (5, "SIGSTOP", "session"), (3, "SIGSTOP", "launcher"),
    (2, "SIGTERM", "launcher"), (2, "SIGINT", "launcher"),
    (10, "terminate", "worker"), (10, "cancel", "worker"),
    (10, "terminate", "session"), (20, "cancel", "session"),
    (1, "terminate", "launcher"), (2, "cancel", "launcher"),
    (5, "reload", None),
)
# What a reload changes, each to one of its values.
SETTINGS = (("asynctasq.synchronous_commit", ("on", "off")),
            ("asynctasq.workers_per_lane", ("1", "2", "3", "4")),
            ("asynctasq.claim_size", ("1", "10", "100")))
CRASHES = ((6, "SIGKILL", "worker"), (3, "SIGKILL", "session"),
           (2, "SIGKILL", "launcher"), (1, "SIGKILL", "auxiliary"),
           (3, "immediate stop", None), (3, "SIGKILL", "postmaster"))
STOP_S = 3
NOTICE_S = 10
# Seconds between two of them.
GAPS = {"restart": (15, 30), "crash": (3, 9)}


class Nemesis(threading.Thread):
    def __init__(self, server, folder, seed, mode, signal_ms):
        super().__init__(name="nemesis", daemon=True)
        self.server = server
        self.random = random.Random("%s nemesis" % seed)
        self.ledger = Ledger(folder, "crashes")
        self.mode = mode
        self.gaps = {"signal": (0, 2 * signal_ms / 1000), **GAPS}
        self.stopping = threading.Event()
        self.connection = None
        self.done = collections.Counter()
        self.killed = set()
        self.stopped = set()
        self.events = []
        self.sequence = itertools.count()
        self.failure = None

    def run(self):
        try:
            self.connection = self.server.wait_ready()
            for kind, modes in (("signal", ("all", "signals")),
                                ("restart", ("all", "signals")),
                                ("crash", ("all",))):
                if self.mode in modes:
                    self.plan(kind)
            while not self.stopping.is_set():
                due = self.events[0][0] if self.events else time.monotonic() + 1
                if due > time.monotonic():
                    self.stopping.wait(due - time.monotonic())
                else:
                    self.act(*heapq.heappop(self.events)[2:])
        except Failure as failure:
            self.failure = str(failure)
        finally:
            self.wake()

    def plan(self, kind):
        self.at(self.random.uniform(*self.gaps[kind]), kind)

    def at(self, seconds, kind, pid=None):
        heapq.heappush(self.events, (time.monotonic() + seconds,
                                     next(self.sequence), kind, pid))

    def act(self, kind, pid):
        if kind == "wake":
            self.wake(pid)
            return
        try:
            {"signal": self.signal, "restart": self.restart,
             "crash": self.crash}[kind]()
        except psycopg2.Error:
            self.connection = self.server.wait_ready()
        self.plan(kind)

    def wake(self, pid=None):
        for one in [pid] if pid else list(self.stopped):
            self.server.signal(one, signal.SIGCONT)
            self.stopped.discard(one)

    def draw(self, choices):
        return self.random.choices(choices, [one[0] for one in choices])[0][1:]

    def query(self, statement, parameters=None):
        with self.connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return [row[0] for row in cursor.fetchall()]

    def find(self, target):
        """One process of a kind, or None."""
        pids = self.query("SELECT pid FROM pg_stat_activity WHERE %s ORDER BY pid"
                          % TARGETS[target])
        return self.random.choice(pids) if pids else None

    def signal(self):
        what, target = self.draw(SIGNALS)
        if what == "reload":
            self.reload()
            return
        seconds = self.random.uniform(0.05, STOP_S)
        pid = self.find(target)
        if pid is None:
            return
        if what in ("terminate", "cancel"):
            done = self.query("SELECT pg_%s_backend(%%s)" % what, (pid,))[0]
        else:
            done = self.server.signal(pid, getattr(signal, what))
        if not done:
            return
        if what == "SIGSTOP":
            self.stopped.add(pid)
            self.at(seconds, "wake", pid)
        self.done["%s %s" % (what, target)] += 1

    def reload(self):
        name, values = self.random.choice(SETTINGS)
        with self.connection.cursor() as cursor:
            cursor.execute("ALTER SYSTEM SET %s = '%s'" % (
                name, self.random.choice(values)))
            cursor.execute("SELECT pg_reload_conf()")
        self.done["reload"] += 1

    def restart(self):
        self.wake()
        self.server.stop()
        self.server.pg_ctl("start")
        self.connection = self.server.wait_ready()
        self.done["fast restart"] += 1

    def crash(self):
        what, target = self.draw(CRASHES)
        start = time.time()
        census = self.query(CENSUS)
        if target == "postmaster":
            self.server.kill_postmaster(self.wake)
            self.server.pg_ctl("start")
        elif what == "immediate stop":
            self.server.stop("immediate")
            self.server.pg_ctl("start")
        elif not self.kill(self.find(target)):
            return
        self.connection = self.server.wait_ready()
        self.stopped.clear()
        self.ledger.write(what="%s %s" % (what, target or ""), start=start,
                          end=time.time(), census=census)
        self.done["%s %s" % (what, target) if target else what] += 1

    def kill(self, pid):
        """False if the process was not there, or ended before the signal."""
        if pid is None or not self.server.signal(pid, signal.SIGKILL):
            return False
        self.killed.add(pid)
        self.stopped.discard(pid)
        try:
            wait_until(self.disconnected, "the server notices", NOTICE_S)
        except Failure:
            return False
        return True

    def disconnected(self):
        try:
            self.query("SELECT 1")
        except psycopg2.Error:
            return True
        return False
