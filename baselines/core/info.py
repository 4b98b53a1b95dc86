"""`MethodInfo`: the metadata of a method. This module does not import torch."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

# The entry point group under which installed packages offer methods.
ENTRY_POINTS = "benchkit.methods"

# The label regimes, those of `splits.regimes`.
REGIMES = ("full", "pal", "ppl", "spl", "missing", "candidates")
UNKNOWN_TREATMENTS = ("negative", "ignored", "estimated")
ORACLES = ("true_labels", "true_counts", "noise_rate", "expected_positives")

_KEY = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_ADDRESS = re.compile(r" at 0x[0-9a-f]+>")
_RESERVED_KEY = "all"  # as in `--method all`
_LONGEST_TEXT = {
    "title": 100,
    "version": 100,
    "summary": 300,
    "paper": 2000,
    "equation": 5000,
    "finding": 1000,
}

# family of methods -> its heading in the documentation, in the order of the documentation.
FAMILIES = {
    "plain": "Plain",
    "long-tailed": "Long-tailed",
    "partial": "Partial labels",
    "both": "Long tail and partial labels (PLT-MLC)",
    "candidates": "Candidate labels",
}


@dataclass(frozen=True)
class MethodInfo:
    """The metadata of a method, as shown by `benchkit methods`.

    Write the arguments as literals or as constants of the module: `baselines.core.descriptions`
    then reads them without importing the method.

    Attributes:
        key: the stable name, as in `--method KEY`.
        title: the name in tables.
        paper: authors, title, venue.
        year: of the paper.
        equation: the loss or rule in one or a few lines of plain text.
        unknown: how unknown labels are treated: "negative", "ignored" or "estimated".
        regimes: the label regimes for which the method is meant with its default hyperparameters,
            which may depend on the regime (`Method.defaults_for`); empty for all.
        needs: what the method uses besides a batch: "class counts", "memory per image", ...
        version: raised when the method's numbers change, which includes a changed default of a
            hyperparameter; part of a run's identity.
        oracle: the hidden truths that the method reads with its default hyperparameters; names of
            `baselines.core.Oracle`.
        family: one of `FAMILIES`; empty for a method outside of these groups.
        summary: the rule in a few words, for the table of methods.
        finding: what was measured with the method on frozen features, with the figure and the
            setting, where its rank needs an explanation; see `docs/method_studies.md`.
    """

    key: str
    title: str
    paper: str
    year: int
    equation: str
    unknown: str
    regimes: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    version: str = "1"
    oracle: tuple[str, ...] = ()
    family: str = ""
    summary: str = ""
    finding: str = ""


def problems(info: Any) -> Iterator[str]:
    """What is wrong with the metadata of a method, one sentence per field.

    Only types, lengths and names are checked; `benchkit.check_method` also asks for completeness.

    Args:
        info: the attribute `info` of a method.

    Yields:
        The field, its value, and what it must be.
    """
    if not isinstance(info, MethodInfo):
        yield f"info is {shown(info)}; it must be a MethodInfo"
        return
    if not isinstance(info.key, str) or not _KEY.fullmatch(info.key) or info.key == _RESERVED_KEY:
        yield (
            f"info.key is {shown(info.key)}; write it in lower case and without spaces: at most 64 "
            "letters, digits, - and _, and not 'all'"
        )
    for field, longest in _LONGEST_TEXT.items():
        value = getattr(info, field)
        lines = value.split("\n") if isinstance(value, str) else []
        if field != "equation":
            lines = ["".join(lines)] if len(lines) == 1 else []
        if not lines or not all(line.isprintable() for line in lines) or len(value) > longest:
            kind = "a text" if field == "equation" else "one line of text"
            yield (
                f"info.{field} is {shown(value)}; it must be {kind} of at most {longest} "
                "printable characters"
            )
    if type(info.year) is not int or not 1 <= info.year <= 9999:
        yield f"info.year is {shown(info.year)}; it must be a whole number such as 2024"
    for field, names in (
        ("unknown", UNKNOWN_TREATMENTS),
        ("family", ("", *FAMILIES)),
    ):
        value = getattr(info, field)
        if value not in names:
            listed = ", ".join(name for name in names if name)
            yield f"info.{field} is {shown(value)}; it must be one of {listed}"
    for field, known in (("regimes", REGIMES), ("oracle", ORACLES), ("needs", None)):
        yield from name_problems(f"info.{field}", getattr(info, field), known)


def name_problems(where: str, names: Any, known: tuple[str, ...] | None) -> Iterator[str]:
    """What is wrong with a tuple of names.

    Args:
        where: the field, for the sentence.
        names: its value.
        known: the names that exist; None if every text is a name.
    """
    if not isinstance(names, tuple) or not all(isinstance(name, str) for name in names):
        example = f'("{known[0]}",)' if known else '("class counts",)'
        yield f"{where} is {shown(names)}; it must be a tuple of names such as {example}"
        return
    unknown = sorted(set(names) - set(known)) if known else []
    if unknown:
        yield f"{where} contains {', '.join(unknown)}; the names are {', '.join(known or ())}"


def shown(value: Any) -> str:
    """A value for a message, shortened; the type of an object that has no text of its own."""
    try:
        text = ascii(value)
    except Exception:  # the value may be of the user's own type
        text = "a value that cannot be shown"
    if _ADDRESS.search(text):
        text = f"an object of the type {ascii(type(value).__name__)[1:-1]}"
    return text if len(text) <= 60 else f"{text[:60]}..."
