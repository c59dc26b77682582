"""The shop's tasks: their handlers, and how they are dispatched."""

import django
from django.db import connection

from asynctasq_django.wire import payload

# Handlers are SQL functions, which a migration would make. A parameter of a
# table's row type gets the row as the task's own transaction sees it.
HANDLERS = """
    CREATE OR REPLACE FUNCTION announce(article shop_article) RETURNS text
        LANGUAGE sql RETURN format('%s for %s', (article).name, (article).price);
    CREATE OR REPLACE FUNCTION greet(cart "Shopping carts") RETURNS text
        LANGUAGE sql RETURN 'Thank you, ' || (cart).customer;
    SELECT asynctasq.register_handler('shop.tasks.Announce', 'announce(shop_article)',
            keep_result => true),
        asynctasq.register_handler('shop.tasks.Greet', 'greet("Shopping carts")',
            keep_result => true);
"""

COMPOSITE_HANDLERS = """
    CREATE OR REPLACE FUNCTION pack(items shop_cartitem[]) RETURNS text
        LANGUAGE sql RETURN (SELECT format('%s articles', sum(quantity)) FROM unnest(items));
    SELECT asynctasq.register_handler('shop.tasks.Pack', 'pack(shop_cartitem[])',
        keep_result => true);
"""


def install():
    with connection.cursor() as cursor:
        cursor.execute(HANDLERS)
        if django.VERSION >= (5, 2):
            cursor.execute(COMPOSITE_HANDLERS)


def value(sql, *params):
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return cursor.fetchone()[0]


def announce(article):
    """Dispatches in SQL. The row of the article's table becomes a reference."""
    return value(
        "SELECT asynctasq.dispatch('shop.tasks.Announce', asynctasq.args('article', a))"
        " FROM shop_article AS a WHERE id = %s",
        article.pk,
    )


def dispatch(task, **params):
    """Dispatches the bytes that the Python package would have written."""
    return value("SELECT asynctasq.dispatch_payload(%s)", payload(task, **params))


def result(task):
    """The result of a committed task, as soon as it has run."""
    return value("SELECT asynctasq.wait(%s) #>> '{}'", task)


def exists(task):
    """Whether there is a task of that id, to run or running."""
    return value("SELECT EXISTS (SELECT FROM asynctasq.tasks WHERE id = %s)", task)
