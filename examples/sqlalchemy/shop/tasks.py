"""The shop's tasks: their handlers, and how they are dispatched."""

from sqlalchemy import func, literal_column, select, text

from asynctasq_sqlalchemy import payload, register_models
from shop.models import Base, User

# Handlers are SQL functions. A parameter of a table's row type gets the row as
# the task's own transaction sees it.
HANDLERS = [
    """
    CREATE OR REPLACE FUNCTION shop.welcome("user" shop.users) RETURNS text
        LANGUAGE sql RETURN 'Welcome, ' || ("user").name
    """,
    """
    CREATE OR REPLACE FUNCTION shop.invoice("order" shop."Customer orders",
            lines shop.order_lines[]) RETURNS text
        LANGUAGE sql RETURN format('%s owes %s',
            (SELECT name FROM shop.users WHERE id = ("order").user_id),
            (SELECT sum(price * quantity) FROM unnest(lines)))
    """,
    """
    SELECT asynctasq.register_handler('shop.tasks.Welcome', 'shop.welcome(shop.users)',
            keep_result => true),
        asynctasq.register_handler('shop.tasks.Invoice',
            'shop.invoice(shop."Customer orders", shop.order_lines[])', keep_result => true)
    """,
]


def install(connection):
    """What an application's migrations do: tables, handlers, models."""
    connection.execute(text("CREATE SCHEMA IF NOT EXISTS shop"))
    Base.metadata.create_all(connection)
    for statement in HANDLERS:
        connection.execute(text(statement))
    return register_models(connection, Base)


def dispatch_welcome(user):
    """Dispatches in SQL. The row of the user's table becomes a reference."""
    row = User.__table__.alias("u")
    # Names of arguments are text; a bound string would be a varchar.
    args = func.asynctasq.args(literal_column("'user'"), row.table_valued())
    return select(func.asynctasq.dispatch("shop.tasks.Welcome", args)).where(row.c.id == user.id)


def dispatch_invoice(order, lines):
    """Dispatches the bytes that the Python package would have written."""
    task = payload("shop.tasks.Invoice", order=order, lines=lines)
    return select(func.asynctasq.dispatch_payload(task))


def result(task):
    """The result of a committed task, as soon as it has run."""
    return select(func.asynctasq.wait(task))


def exists(task):
    """Whether there is a task of that id, to run or running."""
    query = text("SELECT EXISTS (SELECT FROM asynctasq.tasks WHERE id = :task)")
    return query.bindparams(task=task)
