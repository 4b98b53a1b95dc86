"""The registry of methods: every file in `baselines/`, entry points, and plugin files.

There is no list to edit. A file that cannot be imported, a file without a method, and two equal
keys are errors: a table that silently lacks a row would be wrong.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import os
import pkgutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import baselines
from baselines.core import hyperparameters
from baselines.core.contract import Method
from baselines.core.errors import MethodError, is_interrupt, last_line, no_exit, one_line
from baselines.core.info import ENTRY_POINTS, ORACLES, REGIMES, name_problems, problems, shown


def methods_of(module: ModuleType) -> list[type[Method]]:
    """The methods that a module defines itself, without those that it imports."""
    return [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Method)
        and value.__module__ == module.__name__
        and hasattr(value, "info")
    ]


def import_methods(module: str, where: str) -> list[type[Method]]:
    """Import a module and return the methods that it defines.

    Args:
        module: its dotted name.
        where: the file or entry point, for messages.

    Raises:
        MethodError: the module cannot be imported, or it defines no method.
    """
    try:
        imported = importlib.import_module(module)
    except BaseException as error:  # a module may also call `sys.exit`
        if is_interrupt(error):
            raise
        reason = str(error) if isinstance(error, Exception) else one_line(error)
        raise MethodError(f"{where} cannot be imported: {reason}") from error
    return _defined(imported, where)


@functools.cache
def builtin() -> dict[str, type[Method]]:
    """Key -> class of every method in the folder and of every installed entry point."""
    methods: dict[str, type[Method]] = {}
    for entry in pkgutil.iter_modules(baselines.__path__):
        if not entry.ispkg:
            where = f"baselines/{entry.name}.py"
            _add(methods, import_methods(f"baselines.{entry.name}", where), where)
    for point in importlib.metadata.entry_points(group=ENTRY_POINTS):
        where = f"entry point {point.name}"
        loaded = import_methods(point.module, where)
        for method in loaded:
            check(method, where)
        _add(methods, loaded, where)
    return dict(sorted(methods.items()))


def load_plugin(path: Path) -> dict[str, type[Method]]:
    """Load the methods of a Python file that is not part of the package.

    Raises:
        MethodError: the path is no Python file, the file cannot be imported, it defines no method,
            or a method that `check` refuses.
    """
    if not path.is_file():
        what = "is not a file" if path.exists() else "does not exist"
        raise MethodError(f"plugin {path} {what}; give the path of a Python file")
    # Two plugins may have the same file name.
    digest = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:8]
    name = f"benchkit_plugin_{path.stem}_{digest}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise MethodError(f"plugin {path} is not a Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look up their module by name while it runs
    try:
        with no_exit():
            spec.loader.exec_module(module)
    except BaseException as error:  # a plugin may also call `sys.exit`
        sys.modules.pop(name, None)
        if is_interrupt(error):
            raise
        line = None if isinstance(error, SyntaxError) else last_line(error, module.__file__)
        place = "" if line is None else f" (line {line})"
        reason = "it is not UTF-8 text" if _is_binary(path, error) else one_line(error)
        raise MethodError(f"plugin {path} cannot be imported: {reason}{place}") from error
    loaded = _defined(module, f"plugin {path}")
    for method in loaded:
        check(method, str(path))
    methods = dict(builtin())
    known = set(methods)
    _add(methods, loaded, str(path))
    return {key: method for key, method in methods.items() if key not in known}


def _is_binary(path: Path, error: BaseException) -> bool:
    """Whether a file cannot be parsed because it is not UTF-8 text."""
    if not isinstance(error, SyntaxError):
        return False
    try:
        return "\0" in path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return "codec can't decode" in str(error)


def check(method: type[Method], where: str, hyper: Any = None) -> None:
    """Check a method that is not part of the package before anything uses it.

    Args:
        method: the class.
        where: its file or entry point, for messages.
        hyper: an instance of its `Hyper`; None for the defaults.

    Raises:
        MethodError: a wrong `info` or `Hyper`, something else in place of a function, a method
            that cannot be created, or a wrong answer of `regimes()`, `oracle()` or
            `defaults_for()`.
    """
    for problem in problems(method.info):
        raise MethodError(f"{where}: {problem}")
    for problem in hyperparameters.problems(method.Hyper):
        raise MethodError(f"{where}, method '{method.info.key}': {problem}")
    where = f"{where}, method '{method.info.key}'"
    for name, own in vars(Method).items():
        if inspect.isfunction(own) and not callable(getattr(method, name)):
            raise MethodError(
                f"{where}: {name} is {shown(getattr(method, name))}; it must be a function"
            )
    for name, known in (("regimes", REGIMES), ("oracle", ORACLES)):
        for problem in name_problems(f"{name}()", _answer(method, where, name, hyper), known):
            raise MethodError(f"{where}: {problem}")
    for regime in REGIMES:
        defaults = _answer(method, where, "defaults_for", hyper, regime)
        for problem in hyperparameters.default_problems(method.Hyper, defaults):
            raise MethodError(f"{where}: defaults_for('{regime}') {problem}")


def _answer(method: type[Method], where: str, name: str, hyper: Any, *arguments: str) -> Any:
    """The answer of a function of a new instance of a method."""
    try:
        with no_exit():
            return getattr(method(hyper), name)(*arguments)
    except BaseException as error:  # the code is the user's
        if is_interrupt(error):
            raise
        file = getattr(sys.modules.get(method.__module__), "__file__", None)
        line = last_line(error, file)
        place = "" if line is None else f" (line {line})"
        raise MethodError(f"{where}: {name}() fails: {one_line(error)}{place}") from error


def _defined(module: ModuleType, where: str) -> list[type[Method]]:
    methods = methods_of(module)
    if not methods:
        raise MethodError(f"{where} defines no method; it needs a subclass of Method with `info`")
    return methods


def _add(methods: dict[str, type[Method]], new: list[type[Method]], where: str) -> None:
    for method in new:
        key = method.info.key
        if key in methods:
            other = methods[key].__module__
            raise MethodError(f"{where} and {other} both define the method '{key}'; rename one")
        methods[key] = method


def get(key: str, extra: dict[str, type[Method]] | None = None) -> type[Method]:
    """Look up a method by key; the error for an unknown key names the nearest one."""
    known = builtin() | (extra or {})
    if key not in known:
        near = difflib.get_close_matches(key.lower(), known, 1)
        hint = f"did you mean '{near[0]}'?" if near else "`benchkit methods` lists them"
        raise MethodError(f"there is no method '{key}'; {hint}")
    return known[key]
