"""The text of cells, row names and captions, and characters that must not reach a reader."""

import re
import unicodedata

from leaderboard.marks import percent
from leaderboard.row import Cell, Row
from leaderboard.table import Table

DASH = "–"
ORACLE = "†"

_HIDDEN = {
    "Cc",
    "Cf",
    "Cs",
    "Zl",
    "Zp",
}  # control, format, surrogate, line and paragraph separators
_JOINERS = "\u200c\u200d"  # invisible, but part of Persian words and of emoji
_BREAKS = re.compile("[\t\n\v\f\r\x1c-\x1f\x85\u2028\u2029]+")


def printable(text: str) -> str:
    r"""A text with invisible characters as JSON escapes such as `\u001b`; breaks and tabs stay.

    Names come from files of other people. Control characters can move the cursor of a terminal, and
    direction overrides can make a name look like another one.
    """
    if text.isprintable():
        return text
    return "".join(_escaped(character) for character in text)


def visible(text: str) -> str:
    """`printable`, on one line: each run of line breaks and tabs becomes a space."""
    return text if text.isprintable() else printable(_BREAKS.sub(" ", text))


def _escaped(character: str) -> str:
    if (
        character in "\t\n\r"
        or character in _JOINERS
        or unicodedata.category(character) not in _HIDDEN
    ):
        return character
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def cell_text(cell: Cell) -> str:
    """A cell in percent without its mark: `mean ± std`, or the value of a single seed."""
    if cell.mean is None:
        return DASH
    return percent(cell.mean) if cell.std is None else f"{percent(cell.mean)} ± {percent(cell.std)}"


def row_name(row: Row) -> str:
    """The label of a row, with a dagger for an oracle."""
    label = visible(row.label)
    return f"{label} {ORACLE}" if row.is_oracle else label


def caption(table: Table) -> str:
    """One line that identifies a table."""
    split = table.split
    return visible(f"{split.name}, {split.regime}, selection {table.group.selection}")
