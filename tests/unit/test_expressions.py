"""JMESPath computes with exact numbers, and what is wrong with an expression is said before it is used."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from closedwon.expressions import ExpressionError, check, evaluate, exact, paths

DATA = exact(
    {
        "price": 0.1,
        "quantity": 3,
        "text": "5.50",
        "flag": True,
        "lines": [{"n": 0.1, "code": "B"}, {"n": 0.2, "code": "A"}, {"n": 3, "code": "C"}],
    }
)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("price", Decimal("0.1")),
        ("price == `0.1`", True),
        ("price == `0.10`", True),
        ("quantity == `3.0`", True),
        ("price < `0.11` && price > `0.09`", True),
        ("sum(lines[].n)", Decimal("3.3")),
        ("sum(lines[].n) == `3.3`", True),
        ("avg(lines[].n)", Decimal("1.1")),
        ("max(lines[].n)", 3),
        ("min(lines[].n)", Decimal("0.1")),
        ("sort(lines[].n)[0]", Decimal("0.1")),
        ("sort_by(lines, &code)[0].n", Decimal("0.2")),
        ("max_by(lines, &n).code", "C"),
        ("min_by(lines, &n).code", "B"),
        ("ceil(price)", 1),
        ("floor(price)", 0),
        ("abs(price)", Decimal("0.1")),
        ("lines[?n > `0.15`].code | [0]", "A"),
        ("to_string(price)", "0.1"),
        ("to_number(text)", Decimal("5.50")),
        ("to_number('x')", None),
        ("to_number(price)", Decimal("0.1")),
        ("type(price)", "number"),
        ("type(flag)", "boolean"),
        ("lines[0:2].code", ["B", "A"]),
        ("not_null(missing, price)", Decimal("0.1")),
        ("avg(`[]`)", None),
    ],
)
def test_numbers_are_exact_and_known_to_every_function(expression: str, expected: Any) -> None:
    """A price is compared, summed and written as the decimal that Salesforce means."""
    check(expression)
    assert expected == evaluate(expression, DATA)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_becomes_the_decimal_that_its_text_says(number: float) -> None:
    """19.99 stays 19.99, and nothing else is changed on the way."""
    assert Decimal(repr(number)) == exact({"list": [number]})["list"][0]
    assert [1, "a", None, True] == exact([1, "a", None, True])


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("Quantty[", r"'Quantty\[' is not a JMESPath expression: Incomplete expression"),
        ("", "is not a JMESPath expression"),
        ("a-b", "Unknown token '-'"),
        ("jion(', ', lines)", r"there is no function jion\(\); did you mean join\(\)\?"),
        ("zzz(@)", r"there is no function zzz\(\); there are abs, avg"),
        ("sum(a, b)", r"sum\(\) takes 1 argument\(s\), not 2"),
        ("lines[?contains(code)]", r"contains\(\) takes 2 argument\(s\), not 1"),
        ("not_null()", r"not_null\(\) takes 1 argument\(s\), not 0"),
    ],
)
def test_a_bad_expression_is_refused_before_any_record(expression: str, problem: str) -> None:
    """A misspelt function would otherwise be noticed with the first won deal."""
    with pytest.raises(ExpressionError, match=problem):
        check(expression)


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("join(',', text)", r"join\(\) got string, not array-string"),
        ("sum(lines)", r"sum\(\) got dict, not array-number"),
        ("contains(text, `5`)", "fails with TypeError"),
        ("price > text", "fails with TypeError"),
        ('sort(`[1, "a"]`)', r"sort\(\) got str, not"),
    ],
)
def test_an_expression_that_fails_on_the_data_does_not_quote_it(expression: str, problem: str) -> None:
    """Errors end in logs, where no customer's data may be."""
    with pytest.raises(ExpressionError, match=problem) as caught:
        evaluate(expression, DATA)
    assert "5.50" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("Account.BillingCity", {"Account.BillingCity"}),
        ("Items.records[].Quantity", {"Items.records"}),
        ("Items.records[?Kind == 'x'].Name", {"Items.records"}),
        ("join(' ', [Account.Name, Name])", {"Account.Name", "Name"}),
        ("A.b || C.d && !E", {"A.b", "C.d", "E"}),
        ("{name: A.b, city: C}", {"A.b", "C"}),
        ("A.b | [0]", {"A.b"}),
        ("map(&Name, Items)", {"Items"}),
        ("@.A", set()),
        ("`true`", set()),
    ],
)
def test_what_an_expression_reads_is_known(expression: str, expected: set[str]) -> None:
    """Only what is read from the data itself counts, not what is read from its parts."""
    assert expected == paths(expression)
