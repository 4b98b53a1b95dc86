"""Discovery: every file in `baselines/` is a method; plugins add their own the same way.

There is no list to edit. A file that fails to import, a file without a method and two equal keys
are errors, because a silently missing row is the worst kind of wrong table.
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

ENTRY_POINTS = "benchkit.methods"


def methods_of(module: ModuleType) -> list[type[Method]]:
    """The methods that a module defines itself (imported ones do not count)."""
    return [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Method)
        and value.__module__ == module.__name__
        and hasattr(value, "info")
    ]


@functools.cache
def builtin() -> dict[str, type[Method]]:
    """Key -> class of every method in the folder and of every installed entry point."""
    found: dict[str, type[Method]] = {}
    for entry in pkgutil.iter_modules(baselines.__path__):
        if entry.ispkg:
            continue
        try:
            module = importlib.import_module(f"baselines.{entry.name}")
        except Exception as error:
            raise MethodError(f"baselines/{entry.name}.py cannot be imported: {error}") from error
        _add(found, module, f"baselines/{entry.name}.py")
    for point in importlib.metadata.entry_points(group=ENTRY_POINTS):
        try:
            module = importlib.import_module(point.module)
        except Exception as error:
            raise MethodError(f"entry point {point.name} cannot be imported: {error}") from error
        _add(found, module, f"entry point {point.name}")
    return dict(sorted(found.items()))


def load_plugin(path: Path) -> dict[str, type[Method]]:
    """The methods of a Python file that is not part of the package."""
    if not path.is_file():
        raise MethodError(f"plugin {path} does not exist; give the path of a Python file")
    name = f"benchkit_plugin_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise MethodError(f"plugin {path} is not a Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up by name while it is executed
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        kind = type(error).__name__
        raise MethodError(f"plugin {path} cannot be imported: {kind}: {error}") from error
    found = dict(builtin())
    known = set(found)
    _add(found, module, str(path))
    return {key: method for key, method in found.items() if key not in known}


def _add(found: dict[str, type[Method]], module: ModuleType, where: str) -> None:
    methods = methods_of(module)
    if not methods:
        raise MethodError(f"{where} defines no method; it needs a subclass of Method with `info`")
    for method in methods:
        key = method.info.key
        if key in found:
            other = found[key].__module__
            raise MethodError(f"{where} and {other} both define the method '{key}'; rename one")
        found[key] = method


def get(key: str, extra: dict[str, type[Method]] | None = None) -> type[Method]:
    """The method of a key; an unknown key is an error that names the nearest one."""
    known = builtin() | (extra or {})
    if key not in known:
        near = difflib.get_close_matches(key.lower(), known, 1)
        hint = f"did you mean '{near[0]}'?" if near else "`benchkit methods` lists them"
        raise MethodError(f"there is no method '{key}'; {hint}")
    return known[key]
