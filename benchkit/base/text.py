"""Text that is safe to print: names from files may hold control characters."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

# Directional formatting reorders the text around it.
_DIRECTIONS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_LONG_NAME = re.compile(r"\S{600,}")
_CONTROLS = frozenset(("Cc", "Cs", "Zl", "Zp"))  # controls, surrogates, line and paragraph ends


def printable(text: str, keep: str = "") -> str:
    r"""Replace control characters, which a terminal obeys, by their escapes.

    Args:
        text: any text, such as a name from a file.
        keep: control characters that remain.

    Returns:
        The text with ESC as `\x1b`, a line end as `\n`, a lone surrogate as `\udc80`, and so on.
    """
    if text.isprintable():
        return text
    return "".join(
        letter if letter in keep or not _is_control(letter) else _escape(letter) for letter in text
    )


def one_line(text: str) -> str:
    """A message as one printable line; names of thousands of characters are shortened."""
    return printable(_LONG_NAME.sub(lambda match: f"{match[0][:200]}...{match[0][-80:]}", text))


def _is_control(letter: str) -> bool:
    return letter in _DIRECTIONS or unicodedata.category(letter) in _CONTROLS


def _escape(letter: str) -> str:
    return letter.encode("unicode_escape").decode()


def printable_tree(value: Any) -> Any:
    """The same lists and dictionaries with every text made printable."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, Mapping):
        return {printable_tree(key): printable_tree(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [printable_tree(child) for child in value]
    return value
