"""Discovery: every module of `splits/published/` gives its splits; there is no list to edit."""

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
        InputError: a module that gives no split, or two splits of one name.
    """
    found: dict[str, Published] = {}
    for entry in pkgutil.iter_modules(splits.published.__path__):
        if entry.ispkg:
            continue
        module = importlib.import_module(f"splits.published.{entry.name}")
        given = getattr(module, "SPLITS", ())
        if not given:
            raise InputError(f"splits/published/{entry.name}.py gives no published split.")
        for split in given:
            if split.name in found:
                raise InputError(f"Two modules give the published split {split.name!r}.")
            found[split.name] = split
    return dict(sorted(found.items()))


def get(name: str) -> Published:
    """The published split of a name.

    Raises:
        InputError: there is none; the message names the nearest one and all of them.
    """
    if name in known():
        return known()[name]
    near = difflib.get_close_matches(name, known(), 1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise InputError(f"There is no published split {name!r}; there are {', '.join(known())}.{hint}")


def check_call(published: Published, files: Mapping[str, Path]) -> None:
    """Raise for what can be seen to be wrong before anything is read.

    Raises:
        InputError: the split is unavailable, or a file has a role that the split does not know.
    """
    if published.made == "unavailable":
        raise InputError(f"{published.title} cannot be made: {published.needs}")
    for role in files:
        if role not in published.roles:
            roles = ", ".join(published.roles) or "none"
            raise InputError(f"{published.name} has no list file {role!r}; its roles are {roles}.")


def build(
    published: Published, source: Source | None, files: Mapping[str, Path], tools: Tools
) -> PublishedRows:
    """Build a published split and hold it against its known figures.

    Args:
        published: the split.
        source: the data set it is built from, or None where list files carry the labels.
        files: role -> list file.
        tools: the published generators' random numbers.

    Returns:
        Its rows, checked.

    Raises:
        InputError: something is missing, a list file is wrong, or the result is not as published.
    """
    check_call(published, files)
    rows = published.build(source, files, tools)
    check(published, rows)
    return rows
