"""Extensions of a sale for integrations: a unique key, an origin, and changes that a version protects.

A version is opaque text that changes with each change of the sale or of one of its lines. `external_change` carries out
its steps only on the version that the caller has looked at, all in one transaction or none.
"""

from collections import defaultdict
from hashlib import sha256

from sql import Column
from trytond.exceptions import UserError
from trytond.i18n import gettext
from trytond.model import Unique, fields
from trytond.pool import Pool, PoolMeta
from trytond.rpc import RPC
from trytond.tools import grouped_slice, reduce_ids
from trytond.transaction import Transaction

_ACTIONS = {"draft", "quote", "confirm", "cancel"}
_OWN_FIELDS = ("external_id", "external_origin", "external_modified_at")


class Sale(metaclass=PoolMeta):
    __name__ = "sale.sale"

    external_id = fields.Char("External ID", help="The sale's identifier in the system that created it.")
    external_origin = fields.Selection(
        [
            (None, ""),
            ("created", "Created"),
            ("adopted", "Adopted"),
            ("resolved", "Resolved"),
        ],
        "External Origin",
        help="How the sale came to bear its external ID: created with it, or made by hand and given it later.",
    )
    external_modified_at = fields.Timestamp(
        "External Modified at", help="When the content was true in the other system (UTC)."
    )
    external_version = fields.Function(
        fields.Char("External Version", help="Changes with each change of the sale or of its lines."),
        "get_external_version",
    )

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
        cls.__rpc__["external_change"] = RPC(readonly=False, instantiate=0)

    @classmethod
    def copy(cls, sales, default=None):
        # A copy is another sale. With the key, duplicating a sale manually would violate the constraint.
        default = {} if default is None else default.copy()
        for name in _OWN_FIELDS:
            default.setdefault(name, None)
        return super().copy(sales, default=default)

    @classmethod
    def get_external_version(cls, sales, name):
        Line = Pool().get("sale.line")
        moments = defaultdict(list)
        for table, sale in ((cls.__table__(), "id"), (Line.__table__(), "sale")):
            owner = Column(table, sale)
            for part in grouped_slice(sales):
                cursor = Transaction().connection.cursor()
                # Not by the ORM, whose cache may be older than the lock of `external_change`.
                cursor.execute(
                    *table.select(
                        owner,
                        table.id,
                        table.create_date,
                        table.write_date,
                        where=reduce_ids(owner, [each.id for each in part]),
                        order_by=table.id,
                    )
                )
                for sale_id, record_id, created, written in cursor:
                    moments[sale_id].append(f"{record_id} {written or created}")
        return {each.id: sha256("\n".join(moments[each.id]).encode()).hexdigest()[:24] for each in sales}

    @classmethod
    def external_change(cls, sales, version, steps):
        """Execute `steps` in order, in one transaction, if the sale still has this `version`.

        A step is the name of an action (draft, quote, confirm, cancel), "delete_lines", or a dictionary of values to
        write. Raises a `UserError` that begins with SALE_EXTERNAL_VERSION_STALE when the sale has changed meanwhile;
        after that or any other error nothing has changed.
        """
        (sale,) = sales
        cls._lock_with_lines(sale)
        if cls.get_external_version([sale], "external_version")[sale.id] != version:
            raise UserError(gettext("sale_external_id.msg_external_version_stale"))
        for step in steps:
            sales = cls.browse([sale.id])
            if isinstance(step, dict):
                cls.write(sales, step)
            elif step == "delete_lines":
                cls.write(sales, {"lines": [("delete", [line.id for line in sales[0].lines])]})
            elif step in _ACTIONS:
                getattr(cls, step)(sales)
            else:
                raise UserError(gettext("sale_external_id.msg_external_step_unknown"))

    @classmethod
    def _lock_with_lines(cls, sale):
        """Lock the sale and its lines, so that no other transaction changes them between check and commit.

        An update that changes nothing does so on both databases. SQLite takes its one write lock with the first change
        of a transaction, not with a read. PostgreSQL (REPEATABLE READ) waits for the rows and refuses them if they
        have changed since this transaction's snapshot; Tryton then repeats the request with a new snapshot.
        """
        Line = Pool().get("sale.line")
        cursor = Transaction().connection.cursor()
        for table, owner in ((cls.__table__(), "id"), (Line.__table__(), "sale")):
            cursor.execute(*table.update([table.write_uid], [table.write_uid], where=Column(table, owner) == sale.id))
