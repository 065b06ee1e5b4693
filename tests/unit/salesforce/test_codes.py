"""The table of Salesforce's error codes: every published value has one class, and each class one consequence."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

from closedwon.errors import AttentionError, BenignError, ClosedwonError, DoubtfulError, RetryError
from closedwon.salesforce import errors
from closedwon.salesforce.codes import CodeClass, class_of, quoted_classes, read_table
from closedwon.salesforce.errors import Refusal, classify

PUBLISHED = Path(__file__).parent / "published"
CONSEQUENCES: dict[CodeClass, type[ClosedwonError]] = {
    CodeClass.SESSION: errors.SessionExpiredError,
    CodeClass.LOCK: errors.LockedError,
    CodeClass.CALLS: errors.ThrottledError,
    CodeClass.BUSY: errors.ThrottledError,
    CodeClass.MAINTENANCE: errors.MaintenanceError,
    CodeClass.TROUBLE: errors.UnavailableError,
    CodeClass.POSITION: errors.UnavailableError,
    CodeClass.TOO_LARGE: errors.TooLargeError,
    CodeClass.OTHERS_FAULT: DoubtfulError,
    CodeClass.FAULT: errors.FaultError,
    CodeClass.LIMIT: DoubtfulError,
    CodeClass.AUTOMATION: errors.AutomationError,
    CodeClass.RULE: errors.ValidationError,
    CodeClass.VALUE: errors.ValidationError,
    CodeClass.DUPLICATE_VALUE: errors.RefusedError,
    CodeClass.DUPLICATE_RULE: errors.RefusedError,
    CodeClass.APPROVAL: errors.RefusedError,
    CodeClass.GONE: errors.RecordGoneError,
    CodeClass.REQUEST: errors.MalformedRequestError,
    CodeClass.ACCESS: errors.RefusedError,
    CodeClass.STORAGE: errors.RefusedError,
    CodeClass.NAMES: errors.ConfigurationError,
    CodeClass.API: errors.ConfigurationError,
    CodeClass.VERSION: errors.ConfigurationError,
    CodeClass.LOGIN: errors.SalesforceAuthFailedError,
    CodeClass.FOREIGN: DoubtfulError,
    CodeClass.ACCEPTED: DoubtfulError,
}


def published() -> list[str]:
    """The values of both enumerations, some twice."""
    lines = [line for file in sorted(PUBLISHED.glob("*.txt")) for line in file.read_text().splitlines()]
    return [line for line in lines if not line.startswith("#")]


def test_p2_every_published_code_has_exactly_one_class() -> None:
    """No value of StatusCode and ExceptionCode is missing, twice in the table, or in the table alone."""
    in_table = Counter(name for codes in read_table() for name in codes.names)

    assert 607 + 313 == len(published())
    assert {} == {name: count for name, count in in_table.items() if count > 1}
    assert set(published()) == set(in_table)
    assert set(CodeClass) == set(CONSEQUENCES) == {codes.meaning for codes in read_table()}
    assert all(len(codes.reason) > 20 for codes in read_table())


@pytest.mark.parametrize("text", ["", "Der Vorgang ist fehlgeschlagen", "記録を保存できません: concurrent unavailable"])
def test_p2_every_published_code_has_the_consequence_of_its_class(text: str) -> None:
    """With any text, in the result of a record and with any status that says nothing more."""
    for code in published():
        meaning = class_of(code)
        assert meaning is not None
        for status in (200, 400, 403):
            assert CONSEQUENCES[meaning] is type(classify(Refusal(status, code, text))), code


def test_p2_only_what_a_person_can_correct_is_asked_of_a_person_at_once() -> None:
    """All others are retried; an announced maintenance raises no alarm."""
    for meaning, error in CONSEQUENCES.items():
        assert issubclass(error, AttentionError) is not issubclass(error, RetryError), meaning
    for code in ("ORG_IN_MAINTENANCE", "INSERT_UPDATE_DELETE_NOT_ALLOWED_DURING_MAINTENANCE", "ORG_LOCKED"):
        assert isinstance(classify(Refusal(200, code)), BenignError)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Quote: caused by: System.DmlException: UNABLE_TO_LOCK_ROW, unable to obtain", {CodeClass.LOCK}),
        ("INVALID_CROSS_REFERENCE_KEY: Id. del propietario: propietario no puede estar en blanco", {CodeClass.ACCESS}),
        ("MY_OWN_CONSTANT is wrong, unable_to_lock_row, XUNABLE_TO_LOCK_ROW", set()),
    ],
)
def test_the_codes_that_a_text_quotes_are_found(text: str, expected: set[CodeClass]) -> None:
    """Whole published codes only; other words of a text, in any language, are ignored."""
    assert expected == quoted_classes(text)


REMOTE = re.compile(r"\b(text|message|reason|description|error|body)\b(?!\.fields)")
"""Variables that hold what Salesforce says in words."""
REFINED = {"closedwon/salesforce/bus/bayeux.py": ["part in text"]}
"""Documented texts of the event bus refine what its codes say; `test_bayeux.py` shows that other texts do no harm."""


def searched_texts(file: Path) -> list[str]:
    """The comparisons `... in text` of a module."""
    found = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In | ast.NotIn):
            if not isinstance(node.left, ast.Constant | ast.Name) or isinstance(
                node.comparators[0], ast.Set | ast.Tuple
            ):
                continue
            if REMOTE.search(ast.unparse(node.comparators[0])):
                found.append(ast.unparse(node))
    return found


def test_p2_no_decision_depends_on_words() -> None:
    """No module that talks to Salesforce looks for a part of its texts."""
    root = Path(__file__).parents[3]
    files = sorted((root / "closedwon/salesforce").rglob("*.py"))
    found = {str(file.relative_to(root)): searched_texts(file) for file in files}

    assert REFINED == {file: texts for file, texts in found.items() if texts}
    assert 20 < len(files)
