"""asynctasq for SQLAlchemy models: to be copied into an application.

Works with SQLAlchemy 1.4 and 2.0, in sync and in asyncio sessions.
"""

import uuid

import msgpack
from sqlalchemy import Table, inspect, text

REGISTER = text(
    "SELECT asynctasq.register_model(:name, CAST(CAST(:relation AS text) AS regclass),"
    " 'sqlalchemy', CAST(:key AS text[]))"
)


def class_name(cls):
    """The name by which the Python package asynctasq refers to a class."""
    return f"{cls.__module__}.{cls.__qualname__}"


def register_models(connection, base):
    """Registers every class mapped by a declarative base; returns their names.

    The tables must exist, so call it where they are made:

        base.metadata.create_all(connection)
        register_models(connection, base)

    and with an asyncio engine

        await connection.run_sync(register_models, base)
    """
    preparer = connection.dialect.identifier_preparer
    names = []
    for mapper in sorted(base.registry.mappers, key=lambda mapper: class_name(mapper.class_)):
        table = mapper.local_table
        if not isinstance(table, Table):  # mapped to a query, which cannot be referred to
            continue
        connection.execute(
            REGISTER,
            {
                "name": class_name(mapper.class_),
                "relation": preparer.format_table(table),
                "key": [column.name for column in key_columns(mapper)],
            },
        )
        names.append(class_name(mapper.class_))
    return names


def key_columns(mapper):
    """The columns of a class's own table that hold its key, in the key's order.

    The key of a subclass is its parent's. Where it has a table of its own, the
    primary key of that table refers to the parent's key.
    """
    table, parent = mapper.local_table, mapper.inherits
    if parent is None or mapper.concrete:
        return list(mapper.primary_key)
    key = key_columns(parent)
    if table is parent.local_table:
        return key
    return [next(own for own in table.primary_key if own.references(column)) for column in key]


def reference(instance):
    """What stands for a mapped object on the wire: its class and its key.

    Never loads anything: the key is the object's identity, which a flush
    gives it.
    """
    state = inspect(instance)
    if state.identity is None:
        raise ValueError(f"{instance!r} has no key: flush the session first")
    # PostgreSQL reads the text of every other type of key.
    key = [value if isinstance(value, (int, bytes)) else str(value) for value in state.identity]
    return {
        "__orm:sqlalchemy__": key[0] if len(key) == 1 else key,
        "__orm_class__": class_name(state.mapper.class_),
    }


def payload(task, **params):
    """A task as the Python package asynctasq serialises it.

    Mapped objects may stand anywhere in the params. Metadata that is left out
    is the handler's to say.
    """
    return msgpack.packb(
        {"class": task, "params": params, "metadata": {"task_id": str(uuid.uuid4())}},
        default=reference,
    )
