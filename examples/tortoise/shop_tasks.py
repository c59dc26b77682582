"""Tasks with references as Tortoise models give them.

    shop_tasks.py [URL]

The URL is asyncpg's; without it the standard PG* environment variables say
where the server is.
"""

import asyncio
import sys

import asyncpg

from asynctasq_tortoise import LazyProxy, payload, register_models
from shop.models import HANDLERS, MODELS, SCHEMA, Country, Product

DISPATCH = """
    SELECT asynctasq.dispatch('shop.tasks.Ship', asynctasq.args(
        'product', asynctasq.ref('shop.models.Product', $1::uuid),
        'destination', asynctasq.ref('shop.models.Country', $2::text)))
"""
DISPATCH_PAYLOAD = "SELECT asynctasq.dispatch_payload($1)"
RESULT = "SELECT asynctasq.wait($1) #>> '{}'"
EXISTS = "SELECT EXISTS (SELECT FROM asynctasq.tasks WHERE id = $1)"


async def main(url=None):
    connection = await asyncpg.connect(url)
    await connection.execute(SCHEMA)
    await connection.execute(HANDLERS)
    for name in await register_models(connection, MODELS):
        print("model", name)
    germany = Country("DE", "Germany")
    await germany.save(connection)

    # In SQL: references by class and key. The task commits with the row that
    # it is about, and sees it as it is then, not as it was at dispatch.
    async with connection.transaction():
        fan = Product("A fan", 20)
        await fan.save(connection)
        task = await connection.fetchval(DISPATCH, fan.pk, germany.pk)
        await connection.execute("UPDATE product SET price = 19 WHERE id = $1", fan.pk)
    print(await connection.fetchval(RESULT, task))

    # In the bytes that the Python package would have written: one object that
    # is loaded, and one of which only the key is known.
    async with connection.transaction():
        lamp = Product("A lamp", 30)
        await lamp.save(connection)
        task = await connection.fetchval(
            DISPATCH_PAYLOAD,
            payload("shop.tasks.Ship", product=lamp, destination=LazyProxy(Country, "DE")),
        )
    print(await connection.fetchval(RESULT, task))

    # A rollback takes the task along.
    transaction = connection.transaction()
    await transaction.start()
    await Product("Nothing", 0).save(connection)
    task = await connection.fetchval(DISPATCH, fan.pk, germany.pk)
    print("task before the rollback:", await connection.fetchval(EXISTS, task))
    await transaction.rollback()
    print("task after the rollback:", await connection.fetchval(EXISTS, task))
    await connection.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
