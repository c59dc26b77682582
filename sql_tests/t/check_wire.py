"""Compares what SQL puts on the wire with what Python reads, both ways.

check_wire.py decode FILE   each line is an object of type, text and wire: the
    bytes of {"v": value}, in hexadecimal, must be what the text means; says
    what differs, and how many do.
check_wire.py encode        writes such lines: tasks with the argument v, for
    a handler whose parameter is of the type.
"""

import datetime
import decimal
import json
import math
import random
import re
import struct
import sys
import uuid

import msgpack

UTC = datetime.timezone.utc
EXACT = decimal.Context(prec=decimal.MAX_PREC, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN)


# ---- reading, as the Python package asynctasq does ----

def read_ext(code, data):
    """Turns an ext type into the value it stands for."""
    if code == 1:
        return datetime.datetime.fromisoformat(data.decode())
    if code == 2:
        return datetime.date.fromisoformat(data.decode())
    if code == 3:
        return uuid.UUID(bytes=bytes(data))
    if code == 4:
        return decimal.Decimal(data.decode())
    if code == 5:
        return set(unpack(data))
    if code == 6:
        return frozenset(unpack(data))
    raise ValueError(f'unknown ext type {code}')


def unpack(data):
    """Decodes strictly: one value, UTF-8, no bytes behind it."""
    return msgpack.unpackb(data, ext_hook=read_ext, strict_map_key=False, raw=False, timestamp=3)


def read_timedelta(text):
    """What str fields of the type timedelta are read from."""
    sign, days, seconds = re.fullmatch(r'(-?)P(?:(\d+)D)?(?:T([\d.]+)S)?', text).groups()
    micros = int(decimal.Decimal(seconds or 0) * 1000000) + int(days or 0) * 86400000000
    return datetime.timedelta(microseconds=-micros if sign else micros)


def json_value(text):
    """JSON with every number a Decimal, so that none loses a digit."""
    return json.loads(text, parse_int=decimal.Decimal, parse_float=decimal.Decimal)


def plain(value):
    """Numbers of all kinds as Decimals, as in json_value."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return decimal.Decimal(repr(value))
    if isinstance(value, (list, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


# What the text of a type means, and how what was read is compared to it.
MEANINGS = {
    'bool': lambda text: text == 'true',
    'int': int,
    'float8': float,
    'float4': lambda text: struct.unpack('f', struct.pack('f', float(text)))[0],
    'numeric': decimal.Decimal,
    'text': str,
    'bytea': lambda text: bytes.fromhex(text[2:]),
    'uuid': uuid.UUID,
    'date': datetime.date.fromisoformat,
    'timestamp': datetime.datetime.fromisoformat,
    'timestamptz': datetime.datetime.fromisoformat,
    'time': str,
    'micros': lambda text: datetime.timedelta(microseconds=int(text)),
    'json': json_value,
    'set': lambda text: set(json.loads(text)),
}
VIEWS = {'json': plain, 'micros': read_timedelta, 'time': lambda text: datetime.time.fromisoformat(text).isoformat('microseconds')}


def same(a, b):
    """Equal, of one type, and down to the sign of zero and the last digit."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return struct.pack('>d', a) == struct.pack('>d', b)
    if isinstance(a, decimal.Decimal):
        return str(a) == str(b)
    if isinstance(a, datetime.datetime):
        return a == b and a.utcoffset() == b.utcoffset()
    return a == b


def decode(lines):
    """Checks each line."""
    count = differing = 0
    for line in lines:
        item = json.loads(line)
        kind = item['type']
        read = unpack(bytes.fromhex(item['wire']))['v']
        read = VIEWS.get(kind, lambda value: value)(read)
        meant = MEANINGS[kind](item['text'])
        if not same(read, meant):
            differing += 1
            print(f'{kind} {item["text"]!r}: read {read!r}')
        count += 1
    print(f'{count} read, {differing} differ')


# ---- writing ----

def pack_ext(value):
    """What MessagePack has no type for."""
    if isinstance(value, datetime.datetime):
        return msgpack.ExtType(1, value.isoformat().encode())
    if isinstance(value, datetime.date):
        return msgpack.ExtType(2, value.isoformat().encode())
    if isinstance(value, uuid.UUID):
        return msgpack.ExtType(3, value.bytes)
    if isinstance(value, decimal.Decimal):
        return msgpack.ExtType(4, str(value).encode())
    if isinstance(value, (set, frozenset)):
        return msgpack.ExtType(5 if isinstance(value, set) else 6, pack(list(value)))
    raise TypeError(f'cannot pack {value!r}')


def pack(value):
    return msgpack.packb(value, default=pack_ext, use_bin_type=True, strict_types=True)


def some_numbers(rng):
    for bits in range(1, 65):
        for value in (2 ** bits - 1, 2 ** bits, rng.getrandbits(bits)):
            if value < 2 ** 64:
                yield 'numeric', value, str(value)
            if value <= 2 ** 63:
                yield 'numeric', -value, str(-value)
            if value < 2 ** 63:
                yield 'bigint', value, str(value)
                yield 'bigint', -value, str(-value)
    for _ in range(300):
        value = struct.unpack('>d', rng.randbytes(8))[0]
        if not math.isnan(value):
            yield 'float8', value, repr(value)
            # beyond, PostgreSQL's shortest text may have other last digits
            if abs(value) < 2 ** 53:
                yield 'numeric', value, repr(value)
    for value in (math.nan, math.inf, -math.inf, 0.0, -0.0, 1.0, 5e-324, 1e23, 2.0 ** 53):
        yield 'float8', value, repr(value)


def some_decimals(rng):
    for text in ('0', '-0', '0E+3', '0E-20', 'NaN', '-NaN', 'Infinity', '-Infinity', '1E+400', '1E-400', '-1.500'):
        value = decimal.Decimal(text)
        yield 'numeric', value, str(value).replace('-NaN', 'NaN')
    for _ in range(300):
        digits = tuple(rng.randrange(10) for _ in range(rng.randrange(1, 200)))
        value = EXACT.create_decimal((rng.randrange(2), digits, rng.randrange(-300, 100)))
        yield 'numeric', value, str(value)


def exact_timestamp(instant):
    """As Timestamp.from_datetime, but not by way of a float."""
    since = instant - datetime.datetime(1970, 1, 1, tzinfo=UTC)
    return msgpack.Timestamp(since.days * 86400 + since.seconds, since.microseconds * 1000)


def some_moments(rng):
    first = datetime.datetime.min
    span = int((datetime.datetime.max - first) / datetime.timedelta(microseconds=1))
    for i in range(300):
        naive = first + datetime.timedelta(microseconds=rng.randrange(span))
        if i % 3 == 0:
            naive = naive.replace(microsecond=0)
        yield 'timestamp', naive, naive.isoformat()
        yield 'date', naive.date(), naive.date().isoformat()
        yield 'time', naive.time().isoformat(), naive.time().isoformat()
        if datetime.datetime(2, 1, 1) < naive < datetime.datetime(9998, 1, 1):
            offset = datetime.timedelta(seconds=rng.randrange(-57599, 57599))
            aware = naive.replace(tzinfo=datetime.timezone(offset))
            yield 'timestamptz', aware, aware.isoformat()
            instant = naive.replace(tzinfo=UTC)
            yield 'timestamptz', exact_timestamp(instant), instant.isoformat()
    for value in (datetime.datetime.min, datetime.datetime.max):
        yield 'timestamp', value, value.isoformat()
    for seconds, nanos in ((0, 0), (2 ** 32 - 1, 0), (2 ** 32, 0), (2 ** 34 - 1, 999999000), (2 ** 34, 0), (-1, 999999000), (-2 ** 34, 1000)):
        instant = datetime.datetime(1970, 1, 1, tzinfo=UTC) + datetime.timedelta(seconds=seconds, microseconds=nanos // 1000)
        yield 'timestamptz', msgpack.Timestamp(seconds, nanos), instant.isoformat()


def some_others(rng):
    texts = ['', 'x', 'é€😀', '"\\\'\n\t\x01\x7f', 'x' * 31, 'x' * 32, 'x' * 255, 'x' * 256, '€' * 30000, '\u0301\ufeff\U0010ffff']
    for text in texts:
        yield 'text', text, text
    for size in (0, 1, 255, 256, 65535, 65536):
        value = rng.randbytes(size)
        yield 'bytea', value, '\\x' + value.hex()
    for _ in range(50):
        value = uuid.UUID(bytes=rng.randbytes(16))
        yield 'uuid', value, str(value)
    yield 'boolean', True, 'true'
    yield 'boolean', False, 'false'
    for size in (0, 1, 15, 16, 1000):
        value = [rng.getrandbits(31) for _ in range(size)]
        yield 'int[]', value, '{' + ','.join(map(str, value)) + '}'
        yield 'sorted', set(value), '{' + ','.join(map(str, sorted(set(value)))) + '}'
        yield 'sorted', frozenset(value), '{' + ','.join(map(str, sorted(set(value)))) + '}'
    yield 'numeric[]', [[decimal.Decimal('1.50'), 2 ** 64 - 1], [None, 0.1]], '{{1.50,18446744073709551615},{NULL,0.1}}'
    yield 'jsonb', {'b': [1, decimal.Decimal('2.50'), None, True], 'a': {'d': datetime.date(2024, 2, 29), 'u': uuid.UUID(int=1)}, 's': {1.5}, 'x': b'\x00'}, \
        '{"a": {"d": "2024-02-29", "u": "00000000-0000-0000-0000-000000000001"}, "b": [1, 2.50, null, true], "s": [1.5], "x": "AA=="}'
    yield 'jsonb', {i: -i for i in range(20)}, json.dumps({str(i): -i for i in range(20)})


def encode():
    rng = random.Random(20260101)
    for part in (some_numbers, some_decimals, some_moments, some_others):
        for kind, value, text in part(rng):
            task = {
                'class': f'take {kind}',
                'params': {'v': value},
                'metadata': {
                    'task_id': str(uuid.UUID(bytes=rng.randbytes(16))), 'current_attempt': 0, 'dispatched_at': None,
                    'queue': 'default', 'max_attempts': 1, 'retry_delay': 60, 'timeout': None, 'visibility_timeout': 3600,
                },
            }
            print(json.dumps({'type': kind, 'text': text, 'wire': pack(task).hex()}))


if __name__ == '__main__':
    if sys.argv[1] == 'decode':
        with open(sys.argv[2], encoding='utf-8') as lines:
            decode(lines)
    else:
        encode()
