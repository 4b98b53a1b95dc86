"""Discovery: every module of `splits/published/` defines splits; there is no list to edit."""

from __future__ import annotations

import difflib
import functools
import importlib
import pkgutil
from collections.abc import Mapping
from pathlib import Path

import splits.published
from splits.errors import InputError
from splits.published.core.contract import Published, PublishedRows, Tools, check
from splits.source import Source


@functools.cache
def known() -> dict[str, Published]:
    """Name -> published split, sorted by name.

    Raises:
        InputError: a module that defines no split, or two splits with one name.
    """
    by_name: dict[str, Published] = {}
    for entry in pkgutil.iter_modules(splits.published.__path__):
        if entry.ispkg:
            continue
        module = importlib.import_module(f"splits.published.{entry.name}")
        definitions = getattr(module, "SPLITS", ())
        if not definitions:
            raise InputError(f"splits/published/{entry.name}.py defines no published split.")
        for split in definitions:
            if split.name in by_name:
                raise InputError(f"Two modules define the published split {split.name!r}.")
            by_name[split.name] = split
    return dict(sorted(by_name.items()))


def get(name: str) -> Published:
    """The published split of a name.

    Raises:
        InputError: there is none; the message names the nearest one and all of them.
    """
    if name in known():
        return known()[name]
    close = difflib.get_close_matches(name, known(), 1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise InputError(f"There is no published split {name!r}; known: {', '.join(known())}.{hint}")


def check_call(published: Published, files: Mapping[str, Path]) -> None:
    """Check a call before anything is read.

    Raises:
        InputError: the split is unavailable, or a file has an unknown role.
    """
    if published.made == "unavailable":
        raise InputError(f"{published.title} is not available: {published.needs}")
    for role in files:
        if role not in published.roles:
            roles = ", ".join(published.roles) or "none"
            raise InputError(f"{published.name} has no list file {role!r}; its roles are {roles}.")


def build(
    published: Published, source: Source | None, files: Mapping[str, Path], tools: Tools
) -> PublishedRows:
    """Build a published split and compare it with its known figures.

    Args:
        published: the split.
        source: the data set that it is built from, or None if list files contain the labels.
        files: role -> list file.
        tools: the random number generators.

    Returns:
        Its rows.

    Raises:
        InputError: missing data, a malformed list file, or a result that differs from the
            published split.
    """
    check_call(published, files)
    rows = published.build(source, files, tools)
    check(published, rows)
    return rows
