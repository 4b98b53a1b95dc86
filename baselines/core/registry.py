"""The registry of methods: every file in `baselines/`, entry points, and plugin files.

There is no list to edit. A file that cannot be imported, a file without a method, and two equal
keys are errors: a table that silently lacks a row would be wrong.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import importlib.metadata
import importlib.util
import pkgutil
import sys
from pathlib import Path
from types import ModuleType

import baselines
from baselines.core.contract import Method
from baselines.core.errors import MethodError
from baselines.core.info import ENTRY_POINTS


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
    except Exception as error:
        raise MethodError(f"{where} cannot be imported: {error}") from error
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
        _add(methods, import_methods(point.module, where), where)
    return dict(sorted(methods.items()))


def load_plugin(path: Path) -> dict[str, type[Method]]:
    """Load the methods of a Python file that is not part of the package."""
    if not path.is_file():
        raise MethodError(f"plugin {path} does not exist; give the path of a Python file")
    name = f"benchkit_plugin_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise MethodError(f"plugin {path} is not a Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look up their module by name while it runs
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        kind = type(error).__name__
        raise MethodError(f"plugin {path} cannot be imported: {kind}: {error}") from error
    methods = dict(builtin())
    known = set(methods)
    _add(methods, _defined(module, str(path)), str(path))
    return {key: method for key, method in methods.items() if key not in known}


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
