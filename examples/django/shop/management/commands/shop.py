"""manage.py shop: tasks in the transactions of Django."""

from decimal import Decimal

import django
from django.core.management.base import BaseCommand
from django.db import transaction

from shop import models, tasks


class Command(BaseCommand):
    help = "Dispatches tasks about new objects, and shows what became of them."

    def handle(self, **options):
        tasks.install()

        # The task commits with the row that it is about, and sees it as it is
        # then, not as it was at dispatch.
        with transaction.atomic():
            article = models.Article.objects.create(name="A fan", price=Decimal("20.00"))
            task = tasks.announce(article)
            article.price = Decimal("19.90")
            article.save()
        self.stdout.write(tasks.result(task))

        # References by any class that has the table, and by any type of key.
        with transaction.atomic():
            discounted = models.Discounted.objects.get(pk=article.pk)
            task = tasks.dispatch("shop.tasks.Announce", article=discounted)
        self.stdout.write(tasks.result(task))
        with transaction.atomic():
            cart = models.Cart.objects.create(customer="Ann")
            task = tasks.dispatch("shop.tasks.Greet", cart=cart)
        self.stdout.write(tasks.result(task))

        if django.VERSION >= (5, 2):
            with transaction.atomic():
                items = [models.CartItem.objects.create(cart=cart, article=article, quantity=3)]
                task = tasks.dispatch("shop.tasks.Pack", items=items)
            self.stdout.write(tasks.result(task))

        # A rollback takes the task along.
        with transaction.atomic():
            cart = models.Cart.objects.create(customer="Nobody")
            task = tasks.dispatch("shop.tasks.Greet", cart=cart)
            self.stdout.write(f"task before the rollback: {tasks.exists(task)}")
            transaction.set_rollback(True)
        self.stdout.write(f"task after the rollback: {tasks.exists(task)}")
