"""JMESPath computes with exact numbers, and what is wrong with an expression is said before it is used."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from closedwon.expressions import ExpressionError, check, evaluate, exact, json_number, paths, reads_itself

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
        ("to_number('1_000')", None),
        ("to_number('\uff11\uff12\uff13')", None),
        ("to_number('\u0661')", None),
        ("to_number('Infinity')", None),
        ("to_number('-1.5e3')", Decimal(-1500)),
        ("to_number(price)", Decimal("0.1")),
        ("type(price)", "number"),
        ("type(flag)", "boolean"),
        ("lines[0:2].code", ["B", "A"]),
        ("not_null(missing, price)", Decimal("0.1")),
        ("avg(`[]`)", None),
        ("avg(`[1, 2]`)", Decimal("1.5")),
        ("sum(`[]`)", 0),
        ("add(price, `0.2`)", Decimal("0.3")),
        ("add(price, `0.2`, quantity)", Decimal("3.3")),
        ("subtract(price, `0.3`)", Decimal("-0.2")),
        ("multiply(price, quantity)", Decimal("0.3")),
        ("multiply(price, quantity, `10`)", Decimal(3)),
        ("multiply(`123456789012345`, `123456789012345`, `123456789012345`)", 123456789012345**3),
        ("divide(`1`, `3`)", Decimal("0.3333333333333333333333333333")),
        ("divide(`200`, `3`)", Decimal("66.66666666666666666666666667")),
        ("divide(`1`, `8`)", Decimal("0.125")),
        ("round(`2.345`, `2`)", Decimal("2.35")),
        ("round(`-2.345`, `2`)", Decimal("-2.35")),
        ("round(`2.344999`, `2`)", Decimal("2.34")),
        ("round(`133.3300001`, `2`)", Decimal("133.33")),
        ("round(`1250`, `-2`)", 1300),
        ("round(`0.5`, `0`)", 1),
        ("sum(lines[].multiply(n, `2`))", Decimal("6.6")),
        ("add_days('2025-11-03', `30`)", "2025-12-03"),
        ("add_days('2025-11-03T23:30:00.000+0000', `-3`)", "2025-10-31"),
        ("add_days(missing, `1`)", None),
        ("day_in('2025-11-03T23:30:00.000+0000', 'Europe/Berlin')", "2025-11-04"),
        ("day_in('2025-11-03T23:30:00.000+0000', 'America/New_York')", "2025-11-03"),
        ("day_in('2025-06-30T22:00:00Z', 'Europe/Berlin')", "2025-07-01"),
        ("day_in(missing, 'Europe/Berlin')", None),
    ],
)
def test_numbers_are_exact_and_known_to_every_function(expression: str, expected: Any) -> None:
    """A price is compared, summed and written as the decimal that Salesforce means."""
    check(expression)
    assert expected == evaluate(expression, DATA)


@given(st.integers(-(10**15) + 1, 10**15 - 1), st.integers(-12, 12))
def test_a_float_becomes_the_decimal_that_was_meant(digits: int, exponent: int) -> None:
    """A number of up to 15 digits comes through binary floating point unchanged, wherever its point is."""
    number = Decimal(digits).scaleb(exponent)
    assert number == exact({"list": [float(number)]})["list"][0]
    assert [1, "a", None, True] == exact([1, "a", None, True])


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("Quantty[", r"'Quantty\[' is not a JMESPath expression: Incomplete expression"),
        ("", "is not a JMESPath expression"),
        ("a-b", "Unknown token '-'"),
        ("jion(', ', lines)", r"there is no function jion\(\); did you mean join\(\)\?"),
        ("zzz(@)", r"there is no function zzz\(\); there are abs, add"),
        ("sum(a, b)", r"sum\(\) takes 1 argument\(s\), not 2"),
        ("lines[?contains(code)]", r"contains\(\) takes 2 argument\(s\), not 1"),
        ("not_null()", r"not_null\(\) takes 1 argument\(s\), not 0"),
        ("subtrac(a, b)", r"there is no function subtrac\(\); did you mean subtract\(\)\?"),
        ("add(a)", r"add\(\) takes 2 argument\(s\), not 1"),
        ("subtract(a, b, c)", r"subtract\(\) takes 2 argument\(s\), not 3"),
        ("day_in(CreatedDate, 'Europe/Berln')", "the time zone is not known"),
        ("day_in(CreatedDate, 'Europe')", "the time zone is not known"),
        ("day_in(CreatedDate, '../etc/passwd')", "the time zone is not known"),
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
        ("divide(price, `0`)", r"divide\(\) cannot divide by zero"),
        ("divide(`0`, `0`)", r"divide\(\) cannot be computed"),
        ("add(price, text)", r"add\(\) got string, not number"),
        ("add(price, price, text)", r"add\(\) takes numbers only"),
        ("add(price, price, flag)", r"add\(\) takes numbers only"),
        ("multiply(price, missing)", r"multiply\(\) got null, not number"),
        ("add(`1e300`, price)", r"add\(\) gives a number of more than 200 digits"),
        ("add(`1e999`, price)", r"add\(\) takes numbers only"),
        ("round(price, `0.5`)", r"round\(\) takes a whole number of decimals"),
        ("round(price, `19`)", r"round\(\) takes a whole number of decimals from -18 to 18"),
        ("add_days(text, `1`)", r"add_days\(\) takes a date"),
        ("add_days('2025-11-03', `0.5`)", r"add_days\(\) takes a whole number of days"),
        ("add_days('2025-11-03', `9999999`)", r"add_days\(\) gives a day beyond the calendar"),
        ("add_days('2025-11-03', `99999999999999`)", r"add_days\(\) gives a day beyond the calendar"),
        ("add_days('2026-W45-2', `1`)", r"add_days\(\) takes a date like 2025-11-03"),
        ("day_in(text, 'Europe/Berlin')", r"day_in\(\) takes a moment with its offset"),
        ("day_in('2025-11-03T23:30:00', 'Europe/Berlin')", r"day_in\(\) takes a moment with its offset"),
        ("day_in('0001-01-01T00:00:00Z', 'America/New_York')", r"day_in\(\) takes a moment with its offset"),
        ("day_in('2025-11-03T23:30:00Z', text)", "the time zone is not known"),
    ],
)
def test_an_expression_that_fails_on_the_data_does_not_quote_it(expression: str, problem: str) -> None:
    """Errors end in logs, where no customer's data may be."""
    with pytest.raises(ExpressionError, match=problem) as caught:
        evaluate(expression, DATA)
    assert "5.50" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("expression", "kinds"),
    [
        ("flag == 'true'", "a boolean with a text; to_string"),
        ("'true' == flag", "a boolean with a text; to_string"),
        ("flag != 'true'", "a boolean with a text; to_string"),
        ("!flag == 'true' || flag", "a boolean with a text"),
        ("quantity == '3'", "a number with a text; to_string"),
        ("text == `5.5`", "a number with a text; to_string"),
        ("flag == `1`", "a boolean with a number$"),
        ("price == flag", "a boolean with a number$"),
        ("lines[?n == 'A']", "a number with a text"),
    ],
)
def test_values_of_different_kinds_are_not_compared(expression: str, kinds: str) -> None:
    """JMESPath says false, although `'true'` and `true` are the same checkbox: nothing may follow from that."""
    with pytest.raises(ExpressionError, match=f"^it compares {kinds}"):
        evaluate(expression, DATA)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("missing == 'true'", False),
        ("flag != `null`", True),
        ("missing == `null`", True),
        ("lines == 'A'", False),
        ("flag == `true`", True),
        ("text == '5.50'", True),
        ("to_string(flag) == 'true'", True),
        ("to_string('true') == 'true'", True),
        ("to_string(missing) == 'true'", False),
    ],
)
def test_what_is_missing_and_what_is_of_one_kind_is_compared(expression: str, *, expected: bool) -> None:
    """An empty field is a fact about the record."""
    assert expected is evaluate(expression, DATA)


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
        ("@.A", {"A"}),
        ("A || [@]", {"A"}),
        ("`true`", set()),
        ("A.*.b", {"A"}),
        ("A[*].b.c", {"A"}),
        ("A[].b", {"A"}),
        ("A[0].b.c", {"A.b.c"}),
        ("@", set()),
        ("A == B && C > D", {"A", "B", "C", "D"}),
        ("length(A.b)", {"A.b"}),
        ("A[1:2].b", {"A"}),
        ("A.{x: b}", {"A"}),
        ("A.[b, c]", {"A"}),
    ],
)
def test_what_an_expression_reads_is_known(expression: str, expected: set[str]) -> None:
    """Only what is read from the data itself counts, not what is read from its parts."""
    assert expected == paths(expression)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("16.009999999999998", "16.01"),
        ("0.30000000000000004", "0.3"),
        ("3.0000000000000004", "3"),
        ("20.000000000000004", "20"),
        ("299.99999999999997", "300"),
        ("133.3300001", "133.3300001"),
        ("19.990", "19.990"),
        ("1234567890123.45", "1234567890123.45"),
        ("1.5000000000000000000", "1.5"),
        ("-16.009999999999998", "-16.01"),
        ("1e22", "1e22"),
        ("1e999999999", "1e999999999"),
    ],
)
def test_noise_is_taken_off_json_numbers_only(text: str, expected: str) -> None:
    """15 significant digits survive binary floating point; a text that holds a number means every digit."""
    assert Decimal(expected) == json_number(text)
    assert expected == str(json_number(text)) or Decimal(expected) == Decimal(text)
    assert Decimal("16.009999999999998") == exact(Decimal("16.009999999999998"))
    assert Decimal("16.009999999999998") == evaluate("to_number(@)", "16.009999999999998")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1.0000000000000008", "1"),
        ("1.0000000000000009", "1.0000000000000009"),
        ("0.9999999999999996", "1"),
        ("-1.0000000000000008", "-1"),
        ("1.2345678901234501", "1.2345678901234501"),
        ("1.23456789012345001", "1.23456789012345001"),
        ("1.23456789012340001", "1.2345678901234"),
        ("100000000000.00004", "100000000000"),
        ("100000000000.00005", "100000000000.00005"),
        ("-100000000000.00005", "-100000000000.00005"),
        ("200000000000.00006", "200000000000.00006"),
        ("0.000010000000000000001", "0.00001"),
        ("9.000000000000001", "9"),
        ("10.000000000000002", "10"),
        ("100.00000000000001", "100"),
        ("16.01", "16.01"),
        ("16.010", "16.010"),
    ],
)
def test_noise_is_less_than_a_double_can_hold_and_less_than_an_amount(text: str, expected: str) -> None:
    """Four units in the last place, and half of the smallest unit of any currency; only where fewer digits are left."""
    assert expected == f"{json_number(text):f}"


@pytest.mark.parametrize(
    ("expression", "is_taken"),
    [
        ("abs()", False),
        ("abs(a)", True),
        ("abs(a, b)", False),
        ("add(a)", False),
        ("add(a, b)", True),
        ("add(a, b, c)", True),
        ("multiply(a)", False),
        ("multiply(a, b, c, d)", True),
        ("subtract(a)", False),
        ("subtract(a, b)", True),
        ("subtract(a, b, c)", False),
        ("merge()", False),
        ("merge(a)", True),
        ("merge(a, b, c)", True),
        ("not_null(a, b)", True),
        ("contains(a, b)", True),
        ("contains(a, b, c)", False),
        ("[a, lines[].abs(n, m)]", False),
    ],
)
def test_a_function_takes_as_many_arguments_as_it_says(expression: str, *, is_taken: bool) -> None:
    """At least one each; only some take any number."""
    if is_taken:
        check(expression)
    else:
        with pytest.raises(ExpressionError, match="argument"):
            check(expression)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [("[@]", True), ("Items.records || [@]", True), ("@", True), ("Items.records", False), ("@.Items", False),
     ("Items[?@ > `1`]", False), ("map(&@, Items)", False)],
)  # fmt: skip
def test_an_expression_may_yield_the_data_itself(expression: str, expected: object) -> None:
    """A record without child records can be its own one line."""
    assert expected is reads_itself(expression)


@pytest.mark.parametrize("zone", ["`5`", "Zone", "`null`"])
def test_a_zone_that_is_not_a_literal_is_checked_with_the_record(zone: str) -> None:
    """Only a name that is written out can be checked with the settings."""
    check(f"day_in(CreatedDate, {zone})")
    with pytest.raises(ExpressionError, match=r"day_in\(\) got (number|null), not string"):
        evaluate(f"day_in('2025-11-03T23:30:00Z', {zone})", DATA)
