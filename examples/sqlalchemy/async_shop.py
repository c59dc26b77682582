"""Tasks in the transactions of a SQLAlchemy session for asyncio.

    async_shop.py [URL]

The URL is SQLAlchemy's; without it asyncpg is used, and the standard PG*
environment variables say where the server is.
"""

import asyncio
import sys
from decimal import Decimal

from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from shop.models import Order, OrderLine, User
from shop.tasks import dispatch_invoice, dispatch_welcome, exists, install, result


async def main(url="postgresql+asyncpg://"):
    engine = create_async_engine(url)

    async with engine.begin() as connection:
        for name in await connection.run_sync(install):
            print("model", name)

    async with AsyncSession(engine, expire_on_commit=False) as session:
        # The task commits with the row that it is about, and sees it as it is
        # then, not as it was at dispatch.
        async with session.begin():
            user = User(name="bela")
            session.add(user)
            await session.flush()
            task = (await session.execute(dispatch_welcome(user))).scalar_one()
            user.name = "Bela"
        async with session.begin():
            print((await session.execute(result(task))).scalar_one())

        async with session.begin():
            order = Order(user_id=user.id)
            session.add(order)
            await session.flush()
            lines = [
                OrderLine(order_id=order.id, line=1, quantity=3, price=Decimal("7.00")),
                OrderLine(order_id=order.id, line=2, quantity=1, price=Decimal("0.50")),
            ]
            session.add_all(lines)
            await session.flush()
            task = (await session.execute(dispatch_invoice(order, lines))).scalar_one()
        async with session.begin():
            print((await session.execute(result(task))).scalar_one())

        # A rollback takes the task along.
        session.add(User(name="Nobody"))
        task = (await session.execute(dispatch_welcome(user))).scalar_one()
        print("task before the rollback:", (await session.execute(exists(task))).scalar_one())
        await session.rollback()
        print("task after the rollback:", (await session.execute(exists(task))).scalar_one())
    await engine.dispose()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
