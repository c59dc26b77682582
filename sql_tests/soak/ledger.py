"""The ledger: what was dispatched, written down outside the cluster.

Each producer has a file of its own, to which it only appends, one JSON object
a line, handed to the kernel before the server hears of the next step:

    intent    before the transaction is ended: its number, when it began, and
              its tasks, each with the number that its handler will write
    outcome   after it: committed, rolled back, or unknown, because the
              connection died.  Then the row decides that the same transaction
              has written into soak.marker.

The nemesis writes its crashes down the same way: each with the numbers of the
tasks that were waiting or running just before.
"""

import json
import os
import time


class Ledger:
    def __init__(self, folder, name):
        self.fd = os.open(os.path.join(folder, name + ".jsonl"),
                          os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def write(self, **entry):
        line = json.dumps(dict(entry, time=time.time())) + "\n"
        os.write(self.fd, line.encode())


class Transaction:
    """What the ledger says of one transaction."""

    def __init__(self, intent):
        self.tx = intent["tx"]
        self.began = intent["began"]
        self.way = intent["way"]
        self.tasks = intent["tasks"]
        self.ended = float("inf")
        self.outcome = "unknown"

    def end(self, entry):
        self.ended = entry["time"]
        self.outcome = entry["outcome"]
        for task, id in zip(self.tasks, entry.get("ids", [])):
            task["id"] = id


def entries(folder, prefix):
    for name in sorted(os.listdir(folder)):
        if name.startswith(prefix):
            with open(os.path.join(folder, name)) as file:
                for line in file:
                    yield json.loads(line)


def transactions(folder):
    """All transactions of the producers, by number."""
    found = {}
    for entry in entries(folder, "producer"):
        if entry["what"] == "intent":
            found[entry["tx"]] = Transaction(entry)
        else:
            found[entry["tx"]].end(entry)
    return found


def crashes(folder):
    return list(entries(folder, "crashes"))
