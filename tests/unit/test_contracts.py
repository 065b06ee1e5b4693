"""Contracts between processes: a misspelled field is an error in our code, and a newer version's field is ignored."""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, TypeVar, Union, get_args, get_origin

import pytest
from pydantic import AwareDatetime, BaseModel, create_model
from temporalio.api.common.v1 import Payload
from temporalio.contrib.pydantic import pydantic_data_converter

import activities
import closedwon.model
import workflows
from closedwon.ids import OrgId, RecordId
from closedwon.model.base import Model
from closedwon.model.erp import ErpOrder, ErpStatus
from closedwon.model.erp_calls import ErpResult
from closedwon.model.order_state import OrderStart, OrderState
from closedwon.model.records import WriteBack

_Model = TypeVar("_Model", bound=Model)

_VALUES: Final[dict[Any, Any]] = {
    OrgId: OrgId("00D5g000004Kx1X"),
    RecordId: RecordId("0065g00000AbCdE"),
    str: "EUR",  # also a valid currency
    int: 1,
    float: 1.5,
    bool: True,
    Decimal: Decimal("1.10"),
    date: date(2025, 11, 3),
    AwareDatetime: datetime(2025, 11, 3, 12, tzinfo=UTC),
    timedelta: timedelta(minutes=5),
    dict: {},
}
_CONVERTER = pydantic_data_converter.payload_converter


def _classes(package: Any) -> Iterator[type[BaseModel]]:
    for module in pkgutil.iter_modules(package.__path__):
        found = importlib.import_module(f"{package.__name__}.{module.name}")
        for one in vars(found).values():
            if isinstance(one, type) and issubclass(one, BaseModel) and one.__module__ == found.__name__:
                yield one


CONTRACTS = [one for one in _classes(closedwon.model) if issubclass(one, Model) and one.model_fields]


def _example(annotation: Any) -> Any:
    """Some valid value of the type."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in {Annotated, Union, UnionType}:
        return _example(next(one for one in arguments if one is not NoneType))
    generic: dict[Any, Callable[[], Any]] = {
        Literal: lambda: arguments[0],
        tuple: lambda: (_example(arguments[0]),),
        dict: dict,
    }
    if origin in generic:
        return generic[origin]()
    if issubclass(annotation, Model):
        return _instance(annotation)
    return next(iter(annotation)) if issubclass(annotation, Enum) else _VALUES[annotation]


def _instance(model: type[_Model]) -> _Model:
    """An instance with values for its required fields."""
    fields = model.model_fields.items()
    return model(**{name: _example(field.annotation) for name, field in fields if field.is_required()})


def _newer(model: type[_Model]) -> type[_Model]:
    """The class as a later version may have it: with one field more."""
    return create_model(model.__name__, __base__=model, added_later=(str, "new"))


def _sent(value: Model, to: type[_Model]) -> _Model:
    """Encode a value as Temporal stores it, and decode the bytes as another version's class."""
    stored = Payload.FromString(_CONVERTER.to_payload(value).SerializeToString())
    received: _Model = _CONVERTER.from_payload(stored, to)
    return received


def test_all_contracts_are_in_one_package() -> None:
    """A reader finds what crosses a process border in `closedwon.model`, and nowhere else."""
    assert [] == [*_classes(activities), *_classes(workflows)]
    assert {"WriteBack", "Need", "Cursor", "OrderStart", "SeenRecord"} <= {one.__name__ for one in CONTRACTS}


@pytest.mark.parametrize("model", CONTRACTS, ids=lambda one: one.__name__)
def test_a_misspelled_field_is_refused_when_a_contract_is_constructed(model: type[Model]) -> None:
    """Otherwise the value would be lost without a trace."""
    valid = _instance(model)
    name = next(iter(model.model_fields))
    with pytest.raises(TypeError, match=f"{model.__name__} has no field '{name}s'; did you mean '{name}'"):
        model(**{**vars(valid), f"{name}s": 1})
    with pytest.raises(TypeError, match=f"{model.__name__} has no field 'xyzzy'$"):
        valid.model_copy(update={"xyzzy": 1})


@pytest.mark.parametrize("model", CONTRACTS, ids=lambda one: one.__name__)
def test_the_payload_of_a_newer_version_is_decoded(model: type[Model]) -> None:
    """While one build replaces another, a worker ignores the fields that it does not know."""
    newer = _instance(_newer(model))
    assert "added_later" in json.loads(_CONVERTER.to_payload(newer).data)
    assert _instance(model) == _sent(newer, model)


@pytest.mark.parametrize("model", CONTRACTS, ids=lambda one: one.__name__)
def test_the_payload_of_an_older_version_is_decoded(model: type[Model]) -> None:
    """After a roll-forward, a worker reads what the older build stored; new fields have their defaults."""
    newer = _newer(model)
    assert _instance(newer) == _sent(_instance(model), newer)


@pytest.mark.parametrize("model", CONTRACTS, ids=lambda one: one.__name__)
def test_decoded_details_of_a_newer_version_are_read(model: type[Model]) -> None:
    """Heartbeat and failure details arrive as dictionaries; they follow the rule of payloads."""
    details = json.loads(_CONVERTER.to_payload(_instance(_newer(model))).data)
    assert _instance(model) == model.model_validate(details)


def test_unknown_fields_of_a_nested_model_are_ignored() -> None:
    """An order workflow carries its whole state; any part of it may come from a newer version."""
    start = OrderStart(org=_VALUES[OrgId], record=_VALUES[RecordId], route="won", state=OrderState())
    content = json.loads(_CONVERTER.to_payload(start).data)
    content["state"]["added_later"] = content["state"]["notifications"]["added_later"] = 1
    stored = Payload(metadata={"encoding": b"json/plain"}, data=json.dumps(content).encode())
    assert start == _CONVERTER.from_payload(stored, OrderStart)


def test_each_field_of_a_route_is_carried_into_an_order_and_back() -> None:
    """The input of an order repeats its route's fields; none may be forgotten when a route gains one."""
    start = _instance(OrderStart)
    route = start.of_its_route.model_copy(update={"late_message_window": timedelta(hours=1)})
    again = OrderStart.of_route(route, org=start.org, record=start.record)
    assert route == again.of_its_route
    assert {*type(route).model_fields, "org", "record", "state"} == OrderStart.model_fields.keys()


def test_a_type_checker_knows_the_fields() -> None:
    """The `type: ignore` is an error in mypy, which is strict, if mypy does not find the mistake."""
    with pytest.raises(TypeError, match="did you mean 'status'"):
        WriteBack(org=_VALUES[OrgId], record=_VALUES[RecordId], route="won", statuss="done")  # type: ignore[call-arg]


def test_lines_of_an_erp_order_are_not_stored() -> None:
    """They are compared, and never sent to Temporal."""
    order = ErpOrder(
        id="1", number="SO1", status=ErpStatus.DRAFT, currency="EUR", amount=Decimal(1), line_count=0, lines=()
    )
    decoded = _sent(ErpResult(order=order), ErpResult)
    assert decoded.order is not None
    assert decoded.order.lines is None
