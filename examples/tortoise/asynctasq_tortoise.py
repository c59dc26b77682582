"""asynctasq for Tortoise models: to be copied into an application.

Only what Tortoise's models say of themselves is used, `_meta` and `pk`, so
this module does not import Tortoise.
"""

import uuid

import msgpack

REGISTER = "SELECT asynctasq.register_model($1, $2::text::regclass, 'tortoise', $3::text[])"


def class_name(model):
    """The name by which the Python package asynctasq refers to a class."""
    return f"{model.__module__}.{model.__qualname__}"


def quoted(name):
    return '"' + name.replace('"', '""') + '"'


async def register_models(connection, models):
    """Registers models, whose tables must exist; returns their names.

    The models of an application are
    `[model for app in Tortoise.apps.values() for model in app.values()]`,
    the connection one of asyncpg.
    """
    names = []
    for model in models:
        meta = model._meta
        path = [meta.schema, meta.db_table] if meta.schema else [meta.db_table]
        relation = ".".join(map(quoted, path))
        await connection.execute(REGISTER, class_name(model), relation, [meta.db_pk_column])
        names.append(class_name(model))
    return names


class LazyProxy:
    """An object that was never loaded: its class and its key."""

    def __init__(self, model, pk):
        self.model = model
        self.pk = pk


def wire_key(key):
    """PostgreSQL reads the text of every other type of key."""
    return key if isinstance(key, (int, bytes)) else str(key)


def reference(instance):
    """What stands for an object, loaded or not, on the wire."""
    if instance.pk is None:
        raise ValueError(f"{instance!r} has no key: save it first")
    if isinstance(instance, LazyProxy):
        return {
            "__type__": "__lazy_orm_proxy__",
            "model_class": class_name(instance.model),
            "pk": wire_key(instance.pk),
        }
    return {
        "__orm:tortoise__": wire_key(instance.pk),
        "__orm_class__": class_name(type(instance)),
    }


def payload(task, **params):
    """A task as the Python package asynctasq serialises it.

    Objects may stand anywhere in the params. Metadata that is left out is the
    handler's to say.
    """
    return msgpack.packb(
        {"class": task, "params": params, "metadata": {"task_id": str(uuid.uuid4())}},
        default=reference,
    )
