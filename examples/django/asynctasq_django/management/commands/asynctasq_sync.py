"""manage.py asynctasq_sync: registers the models of all apps with asynctasq."""

from django.apps import apps
from django.core.management.base import BaseCommand
from django.db import DEFAULT_DB_ALIAS, connections, router, transaction

from asynctasq_django.wire import class_name

REGISTER = "SELECT asynctasq.register_model(%s, CAST(%s AS regclass), 'django', CAST(%s AS text[]))"


def key_columns(model):
    """The columns of a model's key; CompositePrimaryKey has several."""
    fields = getattr(model._meta, "pk_fields", [model._meta.pk])
    return [field.column for field in fields]


class Command(BaseCommand):
    help = "Registers all models, whose tables must exist, with asynctasq. Run it after migrate."

    def add_arguments(self, parser):
        parser.add_argument("--database", default=DEFAULT_DB_ALIAS)

    def handle(self, *, database, verbosity, **options):
        connection = connections[database]
        with transaction.atomic(using=database), connection.cursor() as cursor:
            for model in apps.get_models():
                if not router.allow_migrate_model(database, model):
                    continue
                table = connection.ops.quote_name(model._meta.db_table)
                cursor.execute(REGISTER, [class_name(model), table, key_columns(model)])
                if verbosity > 0:
                    self.stdout.write(f"model {class_name(model)}")
