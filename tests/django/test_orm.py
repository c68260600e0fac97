"""Live values as values of fields of Django's models."""

from django.db import connection, models

from tests.map.test_serializers import judged, table


class Row(models.Model):
    """A field for each kind of value."""

    int = models.IntegerField(null=True)
    float = models.FloatField(null=True)
    Decimal = models.DecimalField(null=True, max_digits=10, decimal_places=2)
    json = models.JSONField(null=True)

    class Meta:  # noqa: D106  # Django's
        app_label = "lpcm_tests"

    def __str__(self):
        return f"row {self.pk}"


NUMBERS = {"int", "float", "Decimal"}


def saved(value):
    """Return what is read back of a row that a value was saved to, and found by."""
    of = next((name for base in type(value).__mro__ if (name := base.__name__) in NUMBERS), "json")
    row = Row.objects.create(**{of: value})
    (found,) = Row.objects.filter(**{of: value}).values_list("pk", of)
    Row.objects.all().delete()
    assert found[0] == row.pk
    return type(found[1]), found[1]


def test_the_table():
    """Its fields take of live values what the documentation says."""
    with connection.schema_editor() as editor:
        editor.create_model(Row)
    try:
        assert judged(saved) == table()["Django's ORM"]
    finally:
        with connection.schema_editor() as editor:
            editor.delete_model(Row)
