"""What Django objects are in a task's arguments.

Works with Django 3.2, 4.2 and 5.2.
"""

import uuid

import msgpack
from django.db import models


def class_name(model):
    """The name by which the Python package asynctasq refers to a class."""
    return f"{model.__module__}.{model.__qualname__}"


def reference(instance):
    """What stands for a saved object on the wire: its class and its key."""
    if not isinstance(instance, models.Model):
        raise TypeError(f"cannot serialise {instance!r}")
    key = instance.pk if isinstance(instance.pk, tuple) else (instance.pk,)
    if None in key:
        raise ValueError(f"{instance!r} has no key: save it first")
    # PostgreSQL reads the text of every other type of key.
    key = [value if isinstance(value, (int, bytes)) else str(value) for value in key]
    return {
        "__orm:django__": key[0] if len(key) == 1 else key,
        "__orm_class__": class_name(type(instance)),
    }


def payload(task, **params):
    """A task as the Python package asynctasq serialises it.

    Model instances may stand anywhere in the params. Metadata that is left
    out is the handler's to say.
    """
    return msgpack.packb(
        {"class": task, "params": params, "metadata": {"task_id": str(uuid.uuid4())}},
        default=reference,
    )
