import uuid

import django
from django.db import models


class Article(models.Model):
    name = models.TextField()
    price = models.DecimalField(max_digits=10, decimal_places=2)


class Discounted(Article):
    """A class of its own, with the table of another."""

    class Meta:
        proxy = True


class Book(Article):
    """A subclass with a table of its own, whose key is the parent's."""

    isbn = models.TextField()


class Cart(models.Model):
    """A key that is no number, and a name that needs quotes."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    customer = models.TextField()

    class Meta:
        db_table = "Shopping carts"


if django.VERSION >= (5, 2):

    class CartItem(models.Model):
        """A composite key, in another order than the columns."""

        quantity = models.IntegerField()
        article = models.ForeignKey(Article, models.CASCADE)
        cart = models.ForeignKey(Cart, models.CASCADE)
        pk = models.CompositePrimaryKey("cart", "article")
