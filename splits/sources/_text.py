"""Lines of official text files, with sentences that name the file and the line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from splits import numbers
from splits.errors import InputError
from splits.source import digest_file


def wrong(path: Path, line: int, sentence: str) -> InputError:
    """An error at a line (from 1) of a file."""
    return InputError(f"{path}:{line}: {sentence}")


def existing(root: Path, *names: str, what: str) -> Path:
    """The first of several places where a file may lie.

    Args:
        root: the folder of the data set.
        names: paths relative to it, the official one first.
        what: what the file says, for the sentence.

    Raises:
        InputError: there is no such folder, or none of the files.
    """
    if root.is_file():
        raise InputError(f"{root}: this is a file; give the folder of the data set.")
    if not root.is_dir():
        raise InputError(f"{root}: there is no such folder.")
    for name in names:
        if (root / name).is_file():
            return root / name
    for name in names:
        if (root / name).is_dir():
            raise InputError(f"{root / name}: this is a folder, where a file must give {what}.")
    raise InputError(f"{root / names[0]}: there is no such file; it gives {what}.")


def need_file(path: Path, hint: str = "") -> None:
    """Raise for a file that is not there, or is a folder.

    Args:
        path: the file.
        hint: what to give, for the end of the sentence.
    """
    end = f"; give {hint}." if hint else "."
    if path.is_dir():
        raise InputError(f"{path}: this is a folder, not a file{end}")
    if not path.is_file():
        raise InputError(f"{path}: there is no such file{end}")


def read_text(path: Path) -> str:
    """A UTF-8 file without its byte order mark.

    Raises:
        InputError: no such file, or a line that is not UTF-8 text.
    """
    need_file(path)
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise wrong(path, line, "this is not UTF-8 text.") from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise wrong(path, line, "this is not text, for it holds a zero byte.")
    return text


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, whichever way they end, without their ends."""
    lines = read_text(path).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def numbered(path: Path) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, without space around them, and their numbers from 1."""
    for number, line in enumerate(read_lines(path), 1):
        if line.strip():
            yield number, line.strip()


def read_names(path: Path, what: str) -> list[str]:
    """Different names, one per line; blank lines are passed over.

    Raises:
        InputError: no such file, a name that comes twice, no name at all.
    """
    return list(named_lines(path, what))


def named_lines(path: Path, what: str) -> dict[str, int]:
    """The line of each name of `read_names`, which says what is raised."""
    first: dict[str, int] = {}
    for number, line in numbered(path):
        once(path, number, what, line, first)
    if not first:
        raise InputError(f"{path}: the file is empty; it must list each {what}.")
    return first


def once(path: Path, line: int, what: str, name: str, first: dict[str, int]) -> None:
    """Note where a name is, or raise because it has been before."""
    if name in first:
        raise wrong(path, line, f"{what} {name!r} comes twice, first in line {first[name]}.")
    first[name] = line


def no_overlap(
    train: Path, train_ids: Iterable[str], test: Path, test_lines: dict[str, int]
) -> None:
    """Raise for an image of the training part that the test part has too."""
    for name in train_ids:
        if name in test_lines:
            raise wrong(
                test,
                test_lines[name],
                f"image {name!r} is also in {train}; an image cannot be in both training and test.",
            )


def whole(path: Path, line: int, text: str, what: str) -> int:
    """A whole number >= 0 in decimal digits, 18 at most."""
    number = numbers.whole(text)
    if number is None:
        end = f" of at most 18 digits, not {text[:40]!r}." if text.isdigit() else f", not {text!r}."
        raise wrong(path, line, f"{what} is a whole number{end}")
    return number


def digests(root: Path, files: Sequence[Path]) -> dict[str, str]:
    """The SHA-256 of files, by their path below `root`, or by their name where they lie elsewhere.

    Of two that would be called the same, the second has its folder's name before its own.
    """
    found: dict[str, str] = {}
    for file in files:
        name = file.relative_to(root).as_posix() if file.is_relative_to(root) else file.name
        if name in found:
            name = f"{file.absolute().parent.name}/{name}"
        found[name] = digest_file(file)
    return found


def parts(sizes: Sequence[int]) -> np.ndarray | None:
    """The part of each row of a training and, perhaps, a test list: uint8 [N], or None."""
    if len(sizes) < 2:
        return None
    return np.repeat(np.arange(2, dtype=np.uint8), sizes)
