"""The field and its constraint."""

from trytond.model import Unique, fields
from trytond.pool import PoolMeta


class Sale(metaclass=PoolMeta):
    __name__ = "sale.sale"

    external_id = fields.Char("External ID", help="The sale's identifier in the system that created it.")

    @classmethod
    def __setup__(cls):
        cls.external_id.search_unaccented = False
        super().__setup__()
        table = cls.__table__()
        cls._sql_constraints.append((
            "external_id_unique",
            Unique(table, table.company, table.external_id),
            "sale_external_id.msg_external_id_unique",
        ))

    @classmethod
    def copy(cls, sales, default=None):
        # Without this, duplicating a sale by hand would fail on the constraint.
        default = {} if default is None else default.copy()
        default.setdefault("external_id", None)
        return super().copy(sales, default=default)
