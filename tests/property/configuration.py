"""The settings of the world: `closedwon.toml`, and the `org.toml` of the emulator."""

from __future__ import annotations

import json
from typing import Final

from tests.property.routes import KEY_FIELD, OBJECTS, ROUTES, RouteOfTheWorld

CALLOUT_KEY_ENV: Final = "PROPERTY_CALLOUT_KEY"
PATH_SECRET_ENV: Final = "PROPERTY_PATH_SECRET"

PROCESSES: Final = """\
[[orgs]]
name = "local"
id = "{org_id}"
url = "{org_url}"
auth = {{ flow = "client-credentials", client_id = "{client_id}", client_secret = {{ env = "PROPERTY_ORG_SECRET" }} }}

{erps}
[retry]
initial_interval = "200ms"
maximum_interval = "2s"

[subscriber]
heartbeat_timeout = "3s"

[workers]
concurrent_erp_calls = 32
shutdown_grace = "10s"

[telemetry]
log_level = "WARNING"
log_format = "console"

[intake]
port = {intake_port}
records_per_second = 100000
unproven_records_per_hour = 1000000

[encryption]
enabled = false
"""
ERP: Final = """\
[[erps]]
name = "{name}"
kind = "rest"
url = "{url}"
token = {{ env = "PROPERTY_TOKEN_{name}" }}
timeout = "2s"
in_doubt_for = "6s"

"""
_FIELDS: Final = {
    "Route__c": "string",
    "Erp__c": "string",
    "Product__c": "string",
    "Quantity__c": "double",
    "Price__c": "currency",
}
_OF_THE_CUSTOM_OBJECT: Final = {
    "Won__c": "boolean",
    "Customer__c": "string",
    "Amount__c": "currency",
    "ERP_Order_Number__c": "string",
    "ERP_Order_Status__c": "string",
    "ERP_Order_Error__c": "textarea",
    KEY_FIELD: "string",
}
_ROUTE: Final = """
[[routes]]
name = "{name}"
org = "local"
object = "{object}"
source = "{source}"
qualify = "{qualify} && Route__c == '{name}'"
erp = {erp}
on_unqualified = "{on_unqualified}"
on_deleted = "{on_deleted}"
on_changed = "{on_changed}"
grace = "0s"
record_id = "{record_id}"
{channel}
{select}

[routes.order]
{mapping}

[routes.sweep]
where = "{where} AND Route__c = '{name}'"
interval = "1d"
lag = "0s"
{sweep_select}

[routes.write_back]
number = "ERP_Order_Number__c"
status = "ERP_Order_Status__c"
error = "ERP_Order_Error__c"
{key}
"""


def org_settings() -> str:
    """The org's own configuration: its fields and events, and no automation, since the test itself sends messages."""
    fields = [(on, name, kind) for on in OBJECTS for name, kind in _FIELDS.items()]
    fields += [(OBJECTS[1], name, kind) for name, kind in _OF_THE_CUSTOM_OBJECT.items()]
    fields += [(route.event, "Record__c", "string") for route in ROUTES if not route.push]
    tables = (f'\n[[custom_fields]]\non = "{on}"\nname = "{name}"\ntype = "{kind}"\n' for on, name, kind in fields)
    return "".join(["flows = []\ntombstones_of = []\n", *tables])


def route_settings() -> str:
    """The tables of the routes in closedwon.toml."""
    return "".join(map(_table, ROUTES))


def _table(route: RouteOfTheWorld) -> str:
    shape, policies = route.shape, route.policies
    select = f'select = "{shape.select}"'
    return _ROUTE.format(
        name=route.name,
        object=shape.object,
        source="event" if route.by_event else "record",
        qualify=shape.qualify,
        where=shape.where,
        erp=f'"{route.erp}"' if route.erp else '{ expression = "Erp__c" }',
        on_unqualified=policies.on_unqualified,
        on_deleted=policies.on_deleted,
        on_changed=policies.on_changed,
        record_id="Id" if route.push else "Record__c",
        channel=_channel(route),
        select="" if route.by_event else select,
        sweep_select=select if route.by_event else "",
        mapping="\n".join(f"{key} = {json.dumps(expression)}" for key, expression in route.mapping.items()),
        key=f'key = "{KEY_FIELD}"' if route.has_key_field else "",
    )


def _channel(route: RouteOfTheWorld) -> str:
    if route.push == "callouts":
        return f'callouts = {{ keys = [{{ env = "{CALLOUT_KEY_ENV}" }}] }}'
    if route.push == "outbound":
        tombstone = 'tombstone = { object = "Deleted_Record__c", record_id = "Record_Id__c" }'
        return f'outbound = {{ path_secrets = [{{ env = "{PATH_SECRET_ENV}" }}], {tombstone} }}'
    return f'events = ["/event/{route.event}"]'
