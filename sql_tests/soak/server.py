"""The server that is tried: its processes, and how to stop and start it.

A process is signalled only while it is a child of the postmaster, so that no
number that has been given to another program is ever used.

This process adopts those of the server whose parent has ended, and reaps
them: a postmaster that is killed must be gone before the next one starts, and
not every system's first process sees to that.
"""

import ctypes
import os
import signal
import subprocess
import time

import psycopg2

LIMIT_S = 90
DATABASE = "soak"
PR_SET_CHILD_SUBREAPER = 36


class Failure(Exception):
    """The server did what it must not do: ends the run."""


def wait_until(condition, what, limit_s=LIMIT_S):
    """Until the condition holds; Failure when it does not in time."""
    end = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > end:
            raise Failure("waited %d s in vain until %s" % (limit_s, what))
        time.sleep(0.02)


def parent(pid):
    """The parent of a live process, else None."""
    try:
        with open("/proc/%d/stat" % pid) as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[1])


def gone(pid):
    """Whether a process has ended; reaps it if it has become a child."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass
    return not os.path.exists("/proc/%d" % pid)


class Server:
    def __init__(self, bindir, data):
        self.bindir = bindir
        self.data = data
        self.log = data + ".log"

    def adopt(self):
        """Starts the server anew, so that it is this process's own."""
        if ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
            raise OSError("prctl")
        self.pg_ctl("-m", "fast", "stop")
        self.pg_ctl("start")

    def connect(self, user="postgres", name="soak control"):
        connection = psycopg2.connect(dbname=DATABASE, user=user,
                                      application_name=name,
                                      connect_timeout=10)
        connection.autocommit = True
        return connection

    def wait_ready(self):
        """A connection of the superuser, as soon as one can be had."""
        found = []

        def ready():
            try:
                found.append(self.connect())
            except psycopg2.Error:
                pass
            return found

        wait_until(ready, "the server takes connections")
        return found[0]

    def postmaster(self):
        with open(os.path.join(self.data, "postmaster.pid")) as file:
            return int(file.readline())

    def children(self):
        mine = self.postmaster()
        return [int(name) for name in os.listdir("/proc")
                if name.isdigit() and parent(int(name)) == mine]

    def signal(self, pid, number):
        """False if the process is not there, or not the server's."""
        try:
            if parent(pid) != self.postmaster():
                return False
            os.kill(pid, number)
        except (OSError, ValueError):
            return False
        return True

    def pg_ctl(self, *arguments):
        status = subprocess.call(
            [os.path.join(self.bindir, "pg_ctl"), "-D", self.data, "-l",
             self.log, "-w", "-t", str(LIMIT_S), *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        if status != 0:
            raise Failure("pg_ctl %s failed" % " ".join(arguments))

    def stop(self, mode="fast"):
        """Afterwards no process may be left."""
        left = [self.postmaster(), *self.children()]
        self.pg_ctl("-m", mode, "stop")
        self.wait_gone(left)

    def kill_postmaster(self, wake):
        """SIGKILL; its children must end by themselves.  It is stopped first,
        so that it has no child that is not known."""
        postmaster = self.postmaster()
        os.kill(postmaster, signal.SIGSTOP)
        wake()
        left = self.children()
        os.kill(postmaster, signal.SIGKILL)
        self.wait_gone([postmaster, *left])

    def wait_gone(self, pids):
        wait_until(lambda: all([gone(pid) for pid in pids]),
                   "all processes of the server have ended")
