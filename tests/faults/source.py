"""Finds the places in a module where a fault may be put.

Left out is what is text or says nothing at run time: string constants, docstrings, f-strings, lines for the
log, asserts, annotations, imports, decorators, `__slots__`, and what only a type checker reads.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tests.faults.fault import Place

TURNED: dict[type[ast.cmpop], tuple[str, bytes]] = {
    ast.Lt: ("<", b"<="),
    ast.LtE: ("<=", b"<"),
    ast.Gt: (">", b">="),
    ast.GtE: (">=", b">"),
    ast.Eq: ("==", b"!="),
    ast.NotEq: ("!=", b"=="),
    ast.In: ("in", b"not in"),
    ast.NotIn: (r"not\s+in", b"in"),
    ast.Is: ("is", b"is not"),
    ast.IsNot: (r"is\s+not", b"is"),
}
LOG_CALLS = {"note", "note_rarely"}
DECLARATIONS = {"__slots__", "__all__", "__match_args__"}
TEXT_KEYWORDS = {"repr"}  # dataclasses.field(repr=False): how it is shown
Function = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


@dataclass(frozen=True)
class Around:
    """What stands around a node."""

    statement: tuple[int, int] = (1, 1)
    function: ast.FunctionDef | ast.AsyncFunctionDef | None = None
    at_import: bool = True


class Source:
    """The text of a module and its places."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.text = path.read_bytes()
        self._lines = [0]
        for line in self.text.splitlines(keepends=True):
            self._lines.append(self._lines[-1] + len(line))

    def places(self) -> list[Place]:
        found: dict[tuple[int, int, str], Place] = {}
        for place in self._within(ast.parse(self.text), Around()):
            found.setdefault((place.start, place.end, place.kind), place)
        return sorted(found.values(), key=lambda place: (place.start, place.end, place.kind))

    # ---- walking ----

    def _within(self, node: ast.AST, around: Around) -> Iterator[Place]:
        for child in ast.iter_child_nodes(node):
            yield from self._of(child, around)

    def _of(self, node: ast.AST, around: Around) -> Iterator[Place]:
        if isinstance(node, ast.stmt):
            yield from self._of_statement(node, around)
        elif isinstance(node, ast.Lambda):
            yield from self._within(node.args, around)
            yield from self._of(node.body, replace(around, at_import=False))
        elif isinstance(node, ast.BoolOp):
            yield from self._of_and_or(node, around, last_is_condition=False)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            yield from self._of_condition(node, around)
        elif isinstance(node, ast.IfExp):
            yield from self._of_condition(node.test, around)
            yield from self._of(node.body, around)
            yield from self._of(node.orelse, around)
        elif isinstance(node, (ast.JoinedStr, ast.pattern)):
            return
        elif isinstance(node, ast.comprehension):
            yield from self._of(node.iter, around)
            for condition in node.ifs:
                yield from self._of_condition(condition, around)
        elif isinstance(node, ast.match_case):
            if node.guard is not None:
                yield from self._of_condition(node.guard, around)
            for child in node.body:
                yield from self._of(child, around)
        elif isinstance(node, ast.keyword) and node.arg in TEXT_KEYWORDS:
            return
        elif isinstance(node, ast.arg):
            return  # it holds nothing but the annotation
        elif isinstance(node, ast.Constant):
            yield from self._of_constant(node, around)
        else:
            if isinstance(node, ast.Compare):
                yield from self._of_comparison(node, around)
            yield from self._within(node, around)

    def _of_statement(self, node: ast.stmt, around: Around) -> Iterator[Place]:
        if isinstance(node, (ast.Assert, ast.Import, ast.ImportFrom)) or _is_text(node):
            return
        body = getattr(node, "body", None)
        last = max(node.lineno, body[0].lineno - 1) if body else node.end_lineno or node.lineno
        around = replace(around, statement=(node.lineno, last))
        if _may_be_left_out(node, around):
            yield self._place(node, "statement", (b"pass",), around)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from self._within(node.args, around)
            for child in node.body:
                yield from self._of(child, replace(around, function=node, at_import=False))
        elif isinstance(node, ast.ClassDef):
            for child in node.body:
                yield from self._of(child, around)
        elif isinstance(node, (ast.If, ast.While)):
            if not _is_for_types(node.test):
                yield from self._of_condition(node.test, around)
                for child in node.body:
                    yield from self._of(child, around)
            for child in node.orelse:
                yield from self._of(child, around)
        elif isinstance(node, ast.AnnAssign):
            if node.value is not None:
                yield from self._of(node.value, around)
        else:
            yield from self._within(node, around)

    # ---- kinds ----

    def _of_condition(self, node: ast.expr, around: Around) -> Iterator[Place]:
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            yield self._place(node, "condition", (b"(" + self._text(node.operand) + b")",), around)
            yield from self._within(node, around)
            return
        # Of `a == b` the turned comparison is the same as its negation; `while True` has its constant.
        ordered = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)
        is_turned = isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) not in ordered
        if not is_turned and not isinstance(node, ast.Constant):
            yield self._place(node, "condition", (b"not (" + self._text(node) + b")",), around)
        if isinstance(node, ast.BoolOp):
            yield from self._of_and_or(node, around, last_is_condition=True)
        else:
            yield from self._of(node, around)

    def _of_and_or(self, node: ast.BoolOp, around: Around, last_is_condition: bool) -> Iterator[Place]:
        old, new = ("and", b"or") if isinstance(node.op, ast.And) else ("or", b"and")
        text, at = b"", self._start(node)
        for value in node.values:
            between = self.text[at : self._start(value)]  # before the first one, perhaps its bracket
            text += _turned(between, old, new) + self._text(value)
            at = self._end(value)
        text += self.text[at : self._end(node)]
        yield self._place(node, "and-or", (text,), around)
        for number, value in enumerate(node.values):
            # In `x = given or {}` the last one is a value, not a condition.
            if last_is_condition or number < len(node.values) - 1:
                yield from self._of_condition(value, around)
            else:
                yield from self._of(value, around)

    def _of_comparison(self, node: ast.Compare, around: Around) -> Iterator[Place]:
        lefts = [node.left, *node.comparators]
        for left, operator, right in zip(lefts, node.ops, node.comparators, strict=False):
            old, new = TURNED[type(operator)]
            between = self.text[self._end(left) : self._start(right)]
            text = self._text(left) + _turned(between, old, new) + self._text(right)
            first, last = left.lineno, right.end_lineno or right.lineno
            start, end = self._start(left), self._end(right)
            yield self._between(start, end, first, last, "comparison", (text,), around)

    def _of_constant(self, node: ast.Constant, around: Around) -> Iterator[Place]:
        if isinstance(node.value, bool):
            yield self._place(node, "constant", (str(not node.value).encode(),), around)
        elif isinstance(node.value, (int, float)):
            others = {node.value + 1, node.value - 1, node.value * 2} - {node.value}
            yield self._place(node, "constant", tuple(repr(one).encode() for one in sorted(others)), around)

    # ---- text ----

    def _start(self, node: ast.expr | ast.stmt) -> int:
        return self._lines[node.lineno - 1] + node.col_offset

    def _end(self, node: ast.expr | ast.stmt) -> int:
        assert node.end_lineno is not None and node.end_col_offset is not None
        return self._lines[node.end_lineno - 1] + node.end_col_offset

    def _text(self, node: ast.expr) -> bytes:
        return self.text[self._start(node) : self._end(node)]

    def _place(
        self, node: ast.expr | ast.stmt, kind: str, options: tuple[bytes, ...], around: Around
    ) -> Place:
        last = node.end_lineno or node.lineno
        return self._between(self._start(node), self._end(node), node.lineno, last, kind, options, around)

    def _between(
        self,
        start: int,
        end: int,
        first: int,
        last: int,
        kind: str,
        options: tuple[bytes, ...],
        around: Around,
    ) -> Place:
        column = start - self._lines[first - 1] + 1
        return Place(
            self.path, first, last, column, kind, start, end, options, around.statement, around.at_import
        )


def _turned(between: bytes, old: str, new: bytes) -> bytes:
    """Between two operands stand one operator, brackets and perhaps comments."""
    pattern = rf"#[^\n]*|({old})".encode()
    return re.sub(pattern, lambda match: new if match[1] else match[0], between)


def _is_for_types(test: ast.expr) -> bool:
    return ast.unparse(test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def _is_text(node: ast.stmt) -> bool:
    """A docstring, a line for the log, or a declaration that holds names."""
    if isinstance(node, ast.Assign):
        return any(isinstance(target, ast.Name) and target.id in DECLARATIONS for target in node.targets)
    if not isinstance(node, ast.Expr):
        return False
    if isinstance(node.value, ast.Constant):
        return True
    call = node.value.func if isinstance(node.value, ast.Call) else None
    return isinstance(call, ast.Attribute) and call.attr in LOG_CALLS


def _may_be_left_out(node: ast.stmt, around: Around) -> bool:
    if around.at_import or around.function is None:
        return False
    if isinstance(node, ast.Expr):
        value = node.value.value if isinstance(node.value, ast.Await) else node.value
        return isinstance(value, ast.Call)
    if isinstance(node, ast.Return):
        return node.value is None
    if isinstance(node, (ast.Assign, ast.AnnAssign)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if isinstance(node, ast.AnnAssign) and node.value is None:
            return False
        return all(
            isinstance(target, (ast.Attribute, ast.Subscript))
            or (isinstance(target, ast.Name) and _is_bound_before(target, around.function))
            for target in targets
        )
    return isinstance(node, (ast.AugAssign, ast.Delete, ast.Raise, ast.Continue, ast.Break))


def _is_bound_before(name: ast.Name, function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether the name still stands for something when this assignment is left out."""
    for node in ast.walk(function):
        if isinstance(node, ast.arg) and node.arg == name.id:
            return True
        if (
            isinstance(node, ast.Name)
            and isinstance(node.ctx, ast.Store)
            and node.id == name.id
            and node.lineno < name.lineno
        ):
            return True
    return False
