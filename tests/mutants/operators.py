"""Three operators that Cosmic Ray lacks: a missing condition, call or argument."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import parso
from cosmic_ray.operators.operator import Example, Operator
from parso.tree import BaseNode, NodeOrLeaf

Position = tuple[tuple[int, int], tuple[int, int]]

_CALLS: Final = frozenset({"atom_expr", "power"})


class DropOperand(Operator):  # type: ignore[misc]
    """Removes one operand of `and` or `or`."""

    def mutation_positions(self, node: NodeOrLeaf) -> Iterator[Position]:
        """One for each operand."""
        if isinstance(node, BaseNode) and node.type in {"and_test", "or_test"}:
            for operand in node.children[::2]:
                yield operand.start_pos, operand.end_pos

    def mutate(self, node: BaseNode, index: int) -> NodeOrLeaf:
        """Remove it with the `and` or `or` beside it."""
        prefix = node.get_first_leaf().prefix
        at = index * 2
        del node.children[max(at - 1, 0) : max(at - 1, 0) + 2]
        node.get_first_leaf().prefix = prefix
        return node

    @classmethod
    def examples(cls) -> Sequence[Example]:
        """What it does."""
        return (Example("a and b", "b"), Example("a and b", "a", occurrence=1), Example("a or b or c", "a or c", 1))


class DropCall(Operator):  # type: ignore[misc]
    """Replaces a statement that only calls something by `pass`."""

    def mutation_positions(self, node: NodeOrLeaf) -> Iterator[Position]:
        """At most one."""
        if isinstance(node, BaseNode) and node.type == "simple_stmt" and node.children[0].type in _CALLS:
            yield node.children[0].start_pos, node.children[0].end_pos

    def mutate(self, node: BaseNode, index: int) -> NodeOrLeaf:
        """Put `pass` there."""
        del index
        leaf = parso.parse("pass").children[0]
        leaf.prefix = node.get_first_leaf().prefix
        node.children[0] = leaf
        return node

    @classmethod
    def examples(cls) -> Sequence[Example]:
        """What it does."""
        return (Example("f(a)\n", "pass\n"), Example("await f(a)\n", "pass\n"))


class DropKeyword(Operator):  # type: ignore[misc]
    """Removes a keyword argument of a call, so that the default counts."""

    def mutation_positions(self, node: NodeOrLeaf) -> Iterator[Position]:
        """One for each keyword argument."""
        for argument in _keywords(node):
            yield argument.start_pos, argument.end_pos

    def mutate(self, node: Any, index: int) -> NodeOrLeaf:
        """Remove it with the comma after it."""
        argument = _keywords(node)[index]
        if node.type == "argument":  # it is the only one
            nothing: NodeOrLeaf = parso.parse("").children[0]
            return nothing
        at = node.children.index(argument)
        del node.children[at : at + 2]
        return node  # type: ignore[no-any-return]

    @classmethod
    def examples(cls) -> Sequence[Example]:
        """What it does."""
        return (Example("f(a, b=c)", "f(a,)"), Example("f(b=c, d=e)", "f( d=e)"))


def _keywords(node: NodeOrLeaf) -> list[NodeOrLeaf]:
    if isinstance(node, BaseNode) and node.type == "arglist":
        return [child for child in node.children if _is_keyword(child)]
    return []


def _is_keyword(node: NodeOrLeaf) -> bool:
    return (
        isinstance(node, BaseNode)
        and node.type == "argument"
        and node.children[1].type == "operator"
        and (node.children[1].get_code(include_prefix=False) == "=")
    )
