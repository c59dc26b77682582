"""Registers classes mapped in all the ways that SQLAlchemy has."""

import sys

from sqlalchemy import Column, ForeignKey, ForeignKeyConstraint, Integer, String, Table
from sqlalchemy import create_engine, select
from sqlalchemy.orm import declarative_base

sys.path.insert(0, "examples/sqlalchemy")
from asynctasq_sqlalchemy import register_models

Base = declarative_base()


class Person(Base):
    __tablename__ = "person"
    kind = Column(String)
    a = Column(Integer, primary_key=True, autoincrement=False)
    b = Column(Integer, primary_key=True, autoincrement=False)
    __mapper_args__ = {"polymorphic_on": kind, "polymorphic_identity": "person"}


class Worker(Person):
    """Joined to its parent, whose key it refers to twice."""

    __tablename__ = "worker"
    boss_a = Column(Integer)
    boss_b = Column(Integer)
    person_a = Column(Integer, primary_key=True)
    person_b = Column(Integer, primary_key=True)
    __table_args__ = (
        ForeignKeyConstraint(["boss_a", "boss_b"], ["person.a", "person.b"]),
        ForeignKeyConstraint(["person_a", "person_b"], ["person.a", "person.b"]),
    )
    __mapper_args__ = {
        "polymorphic_identity": "worker",
        "inherit_condition": (person_a == Person.a) & (person_b == Person.b),
    }


class Trainee(Worker):
    """In the table of its parent."""

    __mapper_args__ = {"polymorphic_identity": "trainee"}


class Manager(Worker):
    """Joined again, with the key's columns in another order."""

    __tablename__ = "manager"
    worker_b = Column(Integer, primary_key=True)
    worker_a = Column(Integer, primary_key=True)
    __table_args__ = (
        ForeignKeyConstraint(["worker_a", "worker_b"], ["worker.person_a", "worker.person_b"]),
    )
    __mapper_args__ = {"polymorphic_identity": "manager"}


class Circle(Person):
    """With all that its parent has, and a key of its own."""

    __tablename__ = "circle"
    circle_id = Column(Integer, primary_key=True)
    __mapper_args__ = {"concrete": True, "polymorphic_identity": "circle"}


class Outer:
    class Inner(Base):
        __tablename__ = "inner_table"
        id = Column(Integer, primary_key=True)


class Named(Base):
    __tablename__ = 'a "b".c'
    attribute = Column('the "key"', Integer, primary_key=True)


class Mapped:
    pass


class Query(Base):
    """Mapped to a query."""

    __table__ = select(Person.a, Person.b).subquery()
    __mapper_args__ = {"primary_key": [__table__.c.a, __table__.c.b]}


mapped = Table("mapped", Base.metadata, Column("id", ForeignKey("inner_table.id"), primary_key=True))
Base.registry.map_imperatively(Mapped, mapped)

engine = create_engine("postgresql+psycopg2://", future=True)
with engine.begin() as connection:
    Base.metadata.create_all(connection)
    print("\n".join(register_models(connection, Base)))
