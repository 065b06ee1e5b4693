"""Which small faults a file can have, and which of them are tried. Nothing here runs or writes anything."""

from __future__ import annotations

import ast
import difflib
import hashlib
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import parso
from cosmic_ray import plugins
from cosmic_ray.ast import ast_nodes
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Operator

from tests.mutants.operators import DropCall, DropKeyword, DropOperand

ROOT: Final = Path(__file__).parents[2]

_POINTLESS: Final = re.compile(
    # Instances of StrEnum, None and the like: `==` and `is` agree. An order of None or of bools is an error at once.
    "core/ReplaceComparisonOperator_((Eq|NotEq)_(Is|IsNot)|(Is|IsNot)_(Eq|NotEq|Lt|LtE|Gt|GtE))"
)
_OWN: Final = {"own/DropOperand": DropOperand, "own/DropCall": DropCall, "own/DropKeyword": DropKeyword}

Span = tuple[tuple[int, int], tuple[int, int]]


class Mutation(NamedTuple):
    """One small fault."""

    file: str
    """Relative to the repository's root."""
    operator: str
    occurrence: int
    """Of all that the operator can do to the file."""
    span: Span
    """Lines from 1, columns from 0."""
    function: str
    """The innermost function or class; "" for the module itself."""

    def source(self) -> str:
        """The file's text with the fault in it."""
        code = mutate_code(_text(self.file), _operators()[self.operator], self.occurrence)
        assert code is not None, f"{self.operator} has no occurrence {self.occurrence} in {self.file}"
        return str(code)

    def change(self) -> tuple[str, str]:
        """The changed lines, before and after, with each run of white space as one space."""
        lines = list(difflib.ndiff(_text(self.file).splitlines(), self.source().splitlines()))
        before, after = ([line[2:] for line in lines if line.startswith(sign)] for sign in ("- ", "+ "))
        return " ".join(" ".join(before).split()), " ".join(" ".join(after).split())


def mutations_of(file: str) -> list[Mutation]:
    """Every mutation that the operators can make in a file, except in annotations, which mypy checks."""
    tree = parso.parse(_text(file))
    nodes = list(ast_nodes(tree))
    scopes, unused, between_operands = _scopes(file), _unused(file), _binary_operators(file)
    found = []
    for name, operator in _operators().items():
        spans = ((span) for node in nodes for span in operator.mutation_positions(node))
        found += [
            Mutation(file, name, occurrence, span, _innermost(scopes, span))
            for occurrence, span in enumerate(spans)
            if not any(_holds(other, span) for other in unused)
            and ("BinaryOperator" not in name or any(_holds(between, span) for between in between_operands))
        ]
    return found


def sample(files: Iterable[str], size: int, seed: int) -> list[Mutation]:
    """Choose places first, then one fault for each: a comparison has seven, a forgotten call one.

    The lot of a place depends on its own line only, so a change elsewhere leaves it in the sample, or outside.
    """
    places: dict[tuple[str, Span], list[tuple[bytes, Mutation]]] = {}
    for file in files:
        for mutation in mutations_of(file):
            places.setdefault((file, mutation.span), []).append((_lot(mutation, seed), mutation))
    return [mutation for _, mutation in sorted(min(faults) for faults in places.values())[:size]]


def _lot(mutation: Mutation, seed: int) -> bytes:
    (first, column), (last, _) = mutation.span
    lines = _text(mutation.file).splitlines()[first - 1 : last]
    place = column - (len(lines[0]) - len(lines[0].lstrip()))
    parts = (seed, mutation.file, mutation.function, mutation.operator, place, *map(str.strip, lines))
    return hashlib.sha256(repr(parts).encode()).digest()


@cache
def _text(file: str) -> str:
    return (ROOT / file).read_text(encoding="utf-8")


@cache
def _operators() -> dict[str, Operator]:
    known: dict[str, Any] = {name: plugins.get_operator(name) for name in sorted(plugins.operator_names())}
    return {
        name: kind() for name, kind in (known | _OWN).items() if not kind.arguments() and not _POINTLESS.fullmatch(name)
    }


def _unused(file: str) -> list[Span]:
    """Annotations, and what only type checkers read."""
    found: list[Span] = []
    for node in ast.walk(ast.parse(_text(file))):
        if isinstance(node, ast.AnnAssign | ast.arg) and node.annotation:
            found.append(_span(node.annotation))
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.returns:
            found.append(_span(node.returns))
        elif isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            found.append(_span(node))
    return found


def _binary_operators(file: str) -> list[Span]:
    """Where binary operators are: Cosmic Ray takes the stars and slashes of parameters and arguments for some, too."""
    nodes = ast.walk(ast.parse(_text(file)))
    return [(_span(node.left)[1], _span(node.right)[0]) for node in nodes if isinstance(node, ast.BinOp)]


def _scopes(file: str) -> list[tuple[str, Span]]:
    """Functions and classes with their qualified names, outer ones first."""

    def inside(node: ast.AST, outer: str) -> Iterator[tuple[str, Span]]:
        for child in ast.iter_child_nodes(node):
            name = outer
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                name = f"{outer}.{child.name}".lstrip(".")
                first = min((child.lineno, *(decorator.lineno for decorator in child.decorator_list)))
                yield name, ((first, 0), _span(child)[1])
            yield from inside(child, name)

    return list(inside(ast.parse(_text(file)), ""))


def _span(node: Any) -> Span:
    return (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)


def _holds(outer: Span, inner: Span) -> bool:
    return outer[0] <= inner[0] and inner[1] <= outer[1]


def _innermost(scopes: list[tuple[str, Span]], span: Span) -> str:
    names = [name for name, scope in scopes if _holds(scope, span)]
    return names[-1] if names else ""
