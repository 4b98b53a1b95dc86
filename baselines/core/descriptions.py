"""The metadata of all methods, read from their source without importing them.

Importing the methods imports torch, which takes seconds; parsing their files takes milliseconds.
This module does not import torch itself.
"""

from __future__ import annotations

import ast
import importlib.metadata
import pkgutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import baselines
from baselines.core.errors import MethodError
from baselines.core.info import ENTRY_POINTS, MethodInfo

_SHARED = "baselines.shared."


def read() -> dict[str, MethodInfo]:
    """The metadata of every method in the folder and of every installed entry point, by key.

    A file whose `info` is not made of literals is imported. Entry points are always imported.

    Raises:
        MethodError: a file cannot be imported, a file has no method, or two methods have one key.
    """
    infos: dict[str, MethodInfo] = {}
    files: dict[str, str] = {}
    for where, info in _all_infos():
        if info.key in infos:
            other = files[info.key]
            raise MethodError(
                f"{where} and {other} both define the method '{info.key}'; rename one"
            )
        infos[info.key], files[info.key] = info, where
    return dict(sorted(infos.items()))


def read_file(path: Path) -> list[MethodInfo] | None:
    """The metadata of the methods that a Python file defines, without running it.

    Args:
        path: a file whose methods have a class attribute `info = MethodInfo(...)`. The arguments
            may be literals, sums of them, and names of constants that are assigned to such values
            in the same file or in a module of `baselines.shared`.

    Returns:
        One entry per method in the order of the file, or None if the file must be imported to know.
    """
    constants = _Constants(path)
    if constants.tree is None:
        return None
    everywhere = _info_values(ast.walk(constants.tree))
    values = _info_values(constants.tree.body)
    if not values or len(values) < len(everywhere):  # a class inside of a function or a condition
        return None
    try:
        return [_info(value, constants) for value in values]
    except _NotLiteral:
        return None


def _all_infos() -> Iterator[tuple[str, MethodInfo]]:
    """File or entry point and metadata of every method."""
    for entry in pkgutil.iter_modules(baselines.__path__):
        if entry.ispkg:
            continue
        where = f"baselines/{entry.name}.py"
        folder = Path(entry.module_finder.path)  # type: ignore[union-attr]
        infos = read_file(folder / f"{entry.name}.py")
        if infos is None:
            infos = _imported(f"baselines.{entry.name}", where)
        yield from ((where, info) for info in infos)
    for point in importlib.metadata.entry_points(group=ENTRY_POINTS):
        where = f"entry point {point.name}"
        yield from ((where, info) for info in _imported(point.module, where))


def _imported(module: str, where: str) -> list[MethodInfo]:
    from baselines.core import registry  # imports torch

    return [method.info for method in registry.import_methods(module, where)]


# ----------------------------------------------------------------------------- literals


class _NotLiteral(Exception):
    """A value that only running the code can give."""


class _Constants:
    """The module-level constants of a file, evaluated on demand."""

    def __init__(self, path: Path) -> None:
        try:
            self.tree: ast.Module | None = ast.parse(path.read_text(encoding="utf-8"))
        except (OSError, SyntaxError, ValueError):
            self.tree = None
        self._values: dict[str, ast.expr] = {}
        self._imports: dict[str, tuple[Path, str]] = {}
        for node in self.tree.body if self.tree else ():
            if isinstance(node, ast.Assign):
                names = [target.id for target in node.targets if isinstance(target, ast.Name)]
                self._values |= dict.fromkeys(names, node.value)
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(_SHARED):
                parts = str(node.module).split(".")[1:]
                source = path.parent.joinpath(*parts).with_suffix(".py")
                for alias in node.names:
                    self._imports[alias.asname or alias.name] = (source, alias.name)

    def value(self, name: str) -> Any:
        """The value of a constant.

        Raises:
            _NotLiteral: there is no such constant, or it is not a literal.
        """
        if name in self._values:
            return _literal(self._values[name], self)
        if name in self._imports:
            source, original = self._imports[name]
            return _Constants(source).value(original)
        raise _NotLiteral(name)


def _literal(node: ast.expr, constants: _Constants) -> Any:
    """The value of a literal, a tuple or sum of literals, or a constant."""
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Tuple(elts=elements):
            return tuple(_literal(element, constants) for element in elements)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _literal(left, constants) + _literal(right, constants)
        case ast.Name(id=name):
            return constants.value(name)
    raise _NotLiteral(ast.dump(node))


def _info_values(nodes: Iterable[ast.AST]) -> list[ast.expr]:
    """The values that the classes among some nodes assign to `info`."""
    return [
        statement.value
        for node in nodes
        if isinstance(node, ast.ClassDef)
        for statement in node.body
        if isinstance(statement, ast.Assign)
        for target in statement.targets
        if isinstance(target, ast.Name) and target.id == "info"
    ]


def _info(node: ast.expr, constants: _Constants) -> MethodInfo:
    match node:
        case ast.Call(func=ast.Name(id="MethodInfo"), args=arguments, keywords=keywords):
            names = [keyword.arg for keyword in keywords]
            if None in names:  # **options
                raise _NotLiteral(ast.dump(node))
            values = [_literal(keyword.value, constants) for keyword in keywords]
            positional = [_literal(argument, constants) for argument in arguments]
            try:
                return MethodInfo(*positional, **dict(zip(map(str, names), values, strict=True)))
            except TypeError as error:
                raise _NotLiteral(str(error)) from None
    raise _NotLiteral(ast.dump(node))
