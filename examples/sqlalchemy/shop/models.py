"""The tables of a small shop, in a schema of its own."""

from sqlalchemy import (
    Column,
    DateTime,
    ForeignKey,
    Integer,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    String,
    func,
)
from sqlalchemy.dialects.postgresql import UUID
from sqlalchemy.orm import declarative_base

Base = declarative_base(metadata=MetaData(schema="shop"))


class User(Base):
    __tablename__ = "users"

    id = Column(Integer, primary_key=True)
    name = Column(String, nullable=False)


class Employee(User):
    """A subclass with a table of its own, whose key is the parent's."""

    __tablename__ = "employees"

    user_id = Column(ForeignKey(User.id), primary_key=True)
    desk = Column(String)


class Order(Base):
    """A key that the server makes, and a name that needs quotes."""

    __tablename__ = "Customer orders"

    id = Column(UUID(as_uuid=True), primary_key=True, server_default=func.gen_random_uuid())
    user_id = Column(ForeignKey(User.id), nullable=False)
    placed_at = Column(DateTime(timezone=True), server_default=func.now())


class OrderLine(Base):
    """A composite key, in another order than the columns."""

    __tablename__ = "order_lines"

    price = Column(Numeric, nullable=False)
    quantity = Column(Integer, nullable=False)
    line = Column(Integer)
    order_id = Column(ForeignKey(Order.id))
    __table_args__ = (PrimaryKeyConstraint("order_id", "line"),)
