"""Every small fault that can be put into a module: another comparison, another number, a line left out."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

#: What a comparison is mistaken for.
COMPARISONS: dict[type, tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,), ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}  # fmt: skip
#: What an operation is mistaken for.
OPERATIONS: dict[type, type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult, ast.BitOr: ast.BitAnd,
}  # fmt: skip
#: What a call is mistaken for.
CALLS = {"min": "max", "max": "min", "any": "all", "all": "any"}


Path = tuple[tuple[str, int | None], ...]


@dataclass(frozen=True, slots=True)
class Mutant:
    """A module with one fault: in which function, what stood there before and what stands there now.

    `line` to `last` is where it is executed; `last` is 0 for what is executed when the module is imported.
    """

    where: str
    line: int
    last: int
    before: str
    after: str
    _tree: ast.Module
    _path: Path
    _other: ast.AST

    @property
    def key(self) -> tuple[str, str, str]:
        """What it is known by, wherever in its function it stands."""
        return (self.where, self.before, self.after)

    @property
    def text(self) -> str:
        """The whole module."""
        return ast.unparse(ast.fix_missing_locations(_with(self._tree, self._path, self._other)))


def mutants(source: str) -> list[Mutant]:
    """All mutants of a module, in the order of its lines."""
    tree = ast.parse(source)
    found = []
    for where, statement, path, begins, others in _places(tree):
        before, last = _told(statement), _last_line(statement, where)
        for other in others:
            after = _told(_with(statement, path[begins:], other))
            if after != before:
                found.append(Mutant(where, statement.lineno, last, before, after, tree, path, other))
    return found


def _places(tree: ast.Module) -> Iterator[tuple[str, ast.stmt, Path, int, list[ast.AST]]]:
    """Each place: its function, its statement, the way to it from the root and how much of that leads to the statement,
    and what else might stand there.
    """
    stack: list[tuple[ast.AST, str, ast.stmt | None, Path, int]] = [(tree, "", None, (), 0)]
    while stack:
        node, where, statement, path, begins = stack.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            where = f"{where}.{node.name}".lstrip(".")
        if isinstance(node, ast.stmt):
            statement, begins = node, len(path)
        others = list(_others(node)) if statement is not None else []
        if statement is not None and others:
            yield where, statement, path, begins, others
        stack += reversed([(child, where, statement, (*path, step), begins) for child, step in _children(node)])


def _children(node: ast.AST) -> Iterator[tuple[ast.AST, tuple[str, int | None]]]:
    """What is mutated below a node: neither annotations, nor docstrings, nor imports, nor names that are offered."""
    if isinstance(node, (ast.Import, ast.ImportFrom, ast.JoinedStr)) or _is_front_door(node):
        return
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list"):
            continue
        if isinstance(value, ast.AST):
            yield value, (name, None)
        elif isinstance(value, list):
            for index, each in enumerate(value):
                if isinstance(each, ast.AST) and not _is_docstring(each):
                    yield each, (name, index)


def _is_front_door(node: ast.AST) -> bool:
    return isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _others(node: ast.AST) -> Iterator[Any]:
    """What might stand there by mistake."""
    match node:
        case ast.Compare(left=left, ops=[only], comparators=[right]):
            yield from (ast.Compare(left, [other()], [right]) for other in COMPARISONS[type(only)])
        case ast.Compare(left=left, ops=ops, comparators=rest):
            for index, each in enumerate(ops):
                for other in COMPARISONS[type(each)]:
                    yield ast.Compare(left, [*ops[:index], other(), *ops[index + 1 :]], rest)
        case ast.BoolOp(op=op, values=values):
            yield ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), values)
            yield from (ast.BoolOp(op, [*values[:i], *values[i + 1 :]]) for i in range(len(values)))
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield operand
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATIONS:
            yield ast.BinOp(left, OPERATIONS[type(op)](), right)
        case ast.IfExp(test=test, body=body, orelse=orelse):
            yield ast.IfExp(test, orelse, body)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords) if name in CALLS:
            yield ast.Call(ast.Name(CALLS[name], ast.Load()), args, keywords)
        case ast.If(test=test, body=body, orelse=orelse):
            yield ast.If(ast.UnaryOp(ast.Not(), test), body, orelse)
        case ast.Return(value=value) if value is not None and not _is_none(value):
            yield ast.Return(ast.Constant(None))
        case ast.Expr() | ast.Raise() | ast.AugAssign():
            yield ast.Pass()
        case ast.Tuple(elts=elements, ctx=ast.Load()) if len(elements) > 1:
            yield from (ast.Tuple([*elements[:i], *elements[i + 1 :]], ast.Load()) for i in range(len(elements)))
        case ast.Set(elts=elements) if len(elements) > 1:
            yield from (ast.Set([*elements[:i], *elements[i + 1 :]]) for i in range(len(elements)))
        case ast.Constant():
            yield from _other_constants(node.value)


def _other_constants(value: Any) -> Iterator[ast.Constant]:
    if isinstance(value, bool):
        yield ast.Constant(not value)
    elif isinstance(value, (int, float)):
        yield ast.Constant(value + 1)
    elif isinstance(value, str) and value:
        yield ast.Constant(f"x{value}")


def _is_none(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _told(statement: ast.AST) -> str:
    """A statement in one line; of one that has a body its head, unless it is short."""
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return ast.unparse(statement.args) if not isinstance(statement, ast.ClassDef) else statement.name
    if isinstance(statement, (ast.If, ast.For, ast.While, ast.With, ast.Try)):
        return ast.unparse(statement).splitlines()[0]
    return ast.unparse(statement)


def _last_line(statement: ast.stmt, where: str) -> int:
    """The last line of a statement, of one that has a body of its head; 0 where it belongs to no function's body."""
    is_definition = isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
    if is_definition or not where.rpartition(".")[2].lstrip("_")[:1].islower():
        return 0
    body = getattr(statement, "body", None)
    return max(statement.lineno, body[0].lineno - 1) if body else statement.end_lineno or statement.lineno


def _with(tree: ast.AST, path: Path, other: ast.AST) -> ast.AST:
    """A copy of a tree that has another node in the place to which a way leads."""
    if not path:
        return copy.deepcopy(other)
    tree = copy.deepcopy(tree)
    parent, (name, index) = tree, path[-1]
    for step, at in path[:-1]:
        found = getattr(parent, step)
        parent = found if at is None else found[at]
    if index is None:
        setattr(parent, name, copy.deepcopy(other))
    else:
        getattr(parent, name)[index] = copy.deepcopy(other)
    return tree
