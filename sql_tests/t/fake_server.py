"""A PostgreSQL server that answers wrongly, as it is asked to.

fake_server.py SOCKET listens there until its standard input ends.  What it
does wrong is named by the database that a client wants (login_NAME), or by
the word fault_NAME in a query.  All else is answered with one row.
"""

import os
import re
import socket
import struct
import sys
import threading
import time


def message(kind, data=b""):
    return kind + struct.pack("!i", len(data) + 4) + data


def parameter(name, value):
    return message(b"S", name + b"\0" + value + b"\0")


def error(code, text, severity=b"FATAL", kind=b"E"):
    return message(kind, b"S" + severity + b"\0V" + severity + b"\0C" + code + b"\0M" + text + b"\0\0")


def description(*columns):
    data = struct.pack("!h", len(columns))
    for name, oid in columns:
        data += name + b"\0" + struct.pack("!ihihih", 0, 0, oid, -1, -1, 0)
    return message(b"T", data)


def row(*values):
    data = struct.pack("!h", len(values))
    for value in values:
        data += struct.pack("!i", -1 if value is None else len(value)) + (value or b"")
    return message(b"D", data)


READY = message(b"Z", b"I")
LOGIN = (
    message(b"R", struct.pack("!i", 0))
    + parameter(b"server_version", b"15.0")
    + parameter(b"client_encoding", b"UTF8")
    + parameter(b"standard_conforming_strings", b"on")
    + message(b"K", struct.pack("!ii", 1, 2))
    + READY
)
ONE = row(b"1")
INT = description((b"a", 23))
DONE = message(b"C", b"SELECT 1\0")


class Gone(Exception):
    pass


class Client:
    seen = False

    def __init__(self, connection):
        self.connection = connection
        self.syncs = -1  # messages after that many Syncs are not answered

    def read(self, n):
        data = b""
        while len(data) < n:
            part = self.connection.recv(n - len(data))
            if not part:
                raise Gone
            data += part
        return data

    def send(self, data):
        self.connection.sendall(data)

    def send_for_ever(self, data):
        while True:
            self.send(data)

    def drip(self, data):
        for i in range(len(data)):
            self.send(data[i : i + 1])
            time.sleep(0.05)

    def wait(self):
        self.read(1 << 30)

    def reset(self):
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise Gone

    def serve(self):
        while True:
            (length,) = struct.unpack("!i", self.read(4))
            data = self.read(length - 4)
            (code,) = struct.unpack("!i", data[:4])
            if code == 196608:
                break
            self.send(b"N")
        words = data[4:].split(b"\0")
        database = dict(zip(words[::2], words[1::2])).get(b"database", b"").decode()
        getattr(self, database, lambda: self.send(LOGIN))()
        self.queries()

    def queries(self):
        query = ""
        while True:
            kind = self.read(1)
            (length,) = struct.unpack("!i", self.read(4))
            data = self.read(length - 4)
            if self.syncs == 0:
                raise Gone
            if kind == b"P":
                query = data.split(b"\0")[1].decode()
            elif kind == b"E":
                fault = re.search(r"\bfault_\w+", query)
                self.send(message(b"1") + message(b"2"))
                if fault:
                    getattr(self, fault.group())()
                else:
                    self.send(INT + ONE + DONE)
            elif kind == b"S":
                self.send(READY)
                self.syncs -= 1
            elif kind == b"X":
                raise Gone

    # While logging in.

    def login_silent(self):
        self.wait()

    def login_closes(self):
        raise Gone

    def login_leaves(self):
        self.send(LOGIN)
        raise Gone

    def login_half(self):
        self.send(LOGIN[:20])
        raise Gone

    def login_drips(self):
        self.drip(LOGIN)

    def login_garbage(self):
        self.send(b"HTTP/1.1 400 Bad Request\r\nServer: none\r\n\r\n" * 100)
        self.wait()

    def login_unknown(self):
        self.send(message(b"R", struct.pack("!i", 99)))
        self.wait()

    def login_starting(self):
        self.send(error(b"57P03", b"the database system is starting up"))
        raise Gone

    def login_many(self):
        self.send(error(b"53300", b"sorry, too many clients already"))
        raise Gone

    def login_parameters(self):
        self.send(message(b"R", struct.pack("!i", 0)))
        n = 0
        while True:
            n += 1
            self.send(parameter(b"p%d" % n, b"x" * 10000))

    def login_notices(self):
        self.send(message(b"R", struct.pack("!i", 0)))
        self.send_for_ever(error(b"00000", b"x" * 10000, b"NOTICE", b"N"))

    # While answering.

    def fault_none(self):
        self.send(INT + ONE + DONE)

    def fault_columns(self):
        self.send(INT + row(b"1", b"2") + DONE)

    def fault_more_columns(self):
        self.send(description((b"a", 23), (b"b", 23)) + row(b"1") + DONE)

    def fault_number(self):
        self.send(description((b"a", 23), (b"b", 23), (b"c", 20)) + row(b"1", b"1", b"99") + DONE)

    def fault_no_description(self):
        self.send(ONE + DONE)

    def fault_types(self):
        self.send(description((b"a", 23), (b"b", 1184), (b"c", 1007), (b"d", 4000000000 - (1 << 32)), (b"e", 0)))
        self.send(row(b"many", b"tomorrow", b"{1,{", b"x", b"y") + DONE)

    def fault_json(self):
        self.send(description((b"a", 3802)) + row(b'{"a": ') + DONE)

    def fault_negative_value(self):
        self.send(INT + message(b"D", struct.pack("!hi", 1, -7) + b"abc") + DONE)

    def fault_long_value(self):
        self.send(INT + message(b"D", struct.pack("!hi", 1, 1 << 30) + b"abc") + DONE)

    def fault_negative_message(self):
        self.send(INT + b"D" + struct.pack("!i", -100))
        self.wait()

    def fault_huge_row(self):
        self.send(INT + b"D" + struct.pack("!i", 0x7FFFFFF0) + struct.pack("!hi", 1, 0x7FFFFFE0))
        self.send_for_ever(b"x" * 65536)

    def fault_encoding(self):
        self.send(description((b"a", 25)) + row(b"\xff\xfe") + DONE)

    def fault_name(self):
        self.send(description((b"\xff\xfe", 25)) + row(b"x") + DONE)

    def fault_message(self):
        self.send(error(b"22012", b"bad \xff\xfe bytes", b"ERROR"))

    def fault_code(self):
        self.send(error(b"oops", b"no such code", b"ERROR"))

    def fault_discard(self):
        self.send(error(b"QT001", b"pretends", b"ERROR"))

    def fault_success(self):
        self.send(error(b"00000", b"an error that is none", b"ERROR"))

    def fault_copy_out(self):
        self.send(message(b"H", struct.pack("!bh", 0, 0)) + message(b"d", b"x") + message(b"c") + DONE)

    def fault_copy_in(self):
        self.send(message(b"G", struct.pack("!bh", 0, 0)))

    def fault_copy_both(self):
        self.send(message(b"W", struct.pack("!bh", 0, 0)))

    def fault_notices(self):
        self.send_for_ever(error(b"00000", b"x" * 10000, b"NOTICE", b"N"))

    def fault_notifies(self):
        self.send_for_ever(message(b"A", struct.pack("!i", 1) + b"x" * 10000 + b"\0y\0"))

    def fault_parameter(self):
        self.send(b"S" + struct.pack("!i", 100000000))
        self.send_for_ever(b"x" * 65536)

    def fault_parameters(self):
        n = 0
        while True:
            n += 1
            self.send(parameter(b"p%d" % n, b"x" * 10000))

    def fault_rows(self):
        self.send(INT)
        self.send_for_ever(ONE * 1000)

    def fault_results(self):
        self.send_for_ever((INT + ONE + DONE) * 1000)

    def fault_ready(self):
        self.send(READY * 3 + INT + ONE + DONE)

    def fault_authentication(self):
        self.send(message(b"R", struct.pack("!i", 3)))
        self.wait()

    def fault_unknown(self):
        self.send(message(b"?", b"what"))
        self.wait()

    def fault_silent(self):
        self.wait()

    def fault_drips(self):
        self.drip(INT + ONE * 1000)

    def fault_half(self):
        self.send(INT + ONE[:8])
        raise Gone

    def fault_reset(self):
        self.send(INT + ONE[:8])
        self.reset()

    def fault_fatal(self):
        self.send(INT + ONE + error(b"57P01", b"terminating connection due to administrator command"))
        raise Gone

    def fault_last(self):
        self.fault_none()
        self.syncs = 4  # its own, and those of the reset

    def fault_once(self):
        Client.seen = not Client.seen
        if Client.seen:
            self.fault_half()
        self.fault_none()

    def fault_short(self):
        self.send(INT + ONE)
        raise Gone


def handle(connection):
    try:
        Client(connection).serve()
    except (Gone, OSError, struct.error):
        pass
    connection.close()


listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen(100)


def accept():
    while True:
        threading.Thread(target=handle, args=(listener.accept()[0],), daemon=True).start()


threading.Thread(target=accept, daemon=True).start()
print("listening", flush=True)
sys.stdin.read()
os._exit(0)
