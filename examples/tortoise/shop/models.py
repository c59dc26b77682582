"""The tables of a small shop, as Tortoise would have them.

Where Tortoise is installed, these are subclasses of tortoise.models.Model.
"""

from dataclasses import dataclass, field
from types import SimpleNamespace
from uuid import UUID, uuid4


def meta(db_table, db_pk_column="id", schema=None):
    """What a class's `_meta` says in Tortoise."""
    return SimpleNamespace(db_table=db_table, db_pk_column=db_pk_column, schema=schema)


class Model:
    async def save(self, connection):
        await connection.execute(self.INSERT, *vars(self).values())

    @property
    def pk(self):
        return getattr(self, self._meta.db_pk_column)


@dataclass
class Product(Model):
    name: str
    price: int
    id: UUID = field(default_factory=uuid4)
    _meta = meta("product")
    INSERT = 'INSERT INTO "product" (name, price, id) VALUES ($1, $2, $3)'


@dataclass
class Country(Model):
    code: str
    name: str
    _meta = meta("Country", "code")
    INSERT = 'INSERT INTO "Country" (code, name) VALUES ($1, $2) ON CONFLICT DO NOTHING'


MODELS = [Product, Country]

SCHEMA = """
    CREATE TABLE IF NOT EXISTS "product" (id uuid PRIMARY KEY, name text, price int);
    CREATE TABLE IF NOT EXISTS "Country" (code text PRIMARY KEY, name text);
"""

# Handlers are SQL functions. A parameter of a table's row type gets the row as
# the task's own transaction sees it.
HANDLERS = """
    CREATE OR REPLACE FUNCTION ship(product product, destination "Country") RETURNS text
        LANGUAGE sql RETURN format('%s for %s goes to %s',
            (product).name, (product).price, (destination).name);
    SELECT asynctasq.register_handler('shop.tasks.Ship', 'ship(product, "Country")',
        keep_result => true);
"""
