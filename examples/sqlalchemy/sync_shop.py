"""Tasks in the transactions of a SQLAlchemy session.

    sync_shop.py [URL]

The URL is SQLAlchemy's; without it psycopg2 is used, and the standard PG*
environment variables say where the server is.
"""

import sys
from decimal import Decimal

from sqlalchemy import create_engine
from sqlalchemy.orm import sessionmaker

from shop.models import Order, OrderLine, User
from shop.tasks import dispatch_invoice, dispatch_welcome, exists, install, result


def main(url="postgresql+psycopg2://"):
    engine = create_engine(url, future=True)
    Session = sessionmaker(engine, expire_on_commit=False, future=True)

    with engine.begin() as connection:
        for name in install(connection):
            print("model", name)

    # The task commits with the row that it is about, and sees it as it is
    # then, not as it was at dispatch.
    with Session.begin() as session:
        user = User(name="ann")
        session.add(user)
        session.flush()
        task = session.execute(dispatch_welcome(user)).scalar_one()
        user.name = "Ann"
    with Session.begin() as session:
        print(session.execute(result(task)).scalar_one())

    with Session.begin() as session:
        order = Order(user_id=user.id)
        session.add(order)
        session.flush()
        lines = [
            OrderLine(order_id=order.id, line=1, quantity=2, price=Decimal("19.90")),
            OrderLine(order_id=order.id, line=2, quantity=1, price=Decimal("5.05")),
        ]
        session.add_all(lines)
        session.flush()
        task = session.execute(dispatch_invoice(order, lines)).scalar_one()
    with Session.begin() as session:
        print(session.execute(result(task)).scalar_one())

    # A rollback takes the task along.
    with Session() as session:
        session.add(User(name="Nobody"))
        task = session.execute(dispatch_welcome(user)).scalar_one()
        print("task before the rollback:", session.execute(exists(task)).scalar_one())
        session.rollback()
        print("task after the rollback:", session.execute(exists(task)).scalar_one())


if __name__ == "__main__":
    main(*sys.argv[1:])
