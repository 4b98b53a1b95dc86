"""Text files by lines, with error messages that name the file and the line."""

from __future__ import annotations

import errno
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from splits import numbers
from splits.errors import InputError
from splits.source import digest_file


def line_error(path: Path, line: int, sentence: str) -> InputError:
    """An error at a line (from 1) of a file."""
    return InputError(f"{path}:{line}: {sentence}")


def find_file(root: Path, *names: str, content: str) -> Path:
    """The first of several files that exists.

    Args:
        root: the folder of the data set.
        names: paths relative to it, the official one first.
        content: a description of the file's content, for the message.

    Raises:
        InputError: the folder does not exist, none of the files does, or one may not be read.
    """
    if root.is_file():
        raise InputError(f"{root}: this is a file; give the folder of the data set.")
    if not root.is_dir():
        raise InputError(f"{root}: there is no such folder.")
    for name in names:
        if is_file(root / name):
            _check_readable(root / name)
            return root / name
    for name in names:
        kind = _kind(root / name)
        if kind:
            raise InputError(f"{root / name}: this is {kind}; a file with {content} is needed.")
    raise InputError(f"{root / names[0]}: {_missing(root / names[0])}; it must hold {content}.")


def need_file(path: Path, hint: str = "") -> None:
    """Raise if a file does not exist, may not be read, or is a folder, a named pipe or a device.

    Args:
        path: the file.
        hint: the kind of file that is needed, for the message.
    """
    end = f"; give {hint}." if hint else "."
    kind = _kind(path)
    if kind:
        raise InputError(f"{path}: this is {kind}, not a file{end}")
    if not is_file(path):
        raise InputError(f"{path}: {_missing(path)}{end}")
    _check_readable(path)


def _check_readable(path: Path) -> None:
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        reason = (error.strerror or "an error of the disk").lower()
        raise InputError(f"{path}: the file cannot be read: {reason}.") from None


def is_file(path: Path) -> bool:
    """Whether a path is a regular file that may be looked up.

    Opening a named pipe would wait for a writer, and reading a device may never end.
    """
    try:
        return path.is_file()
    except OSError:  # a name that is too long, or a folder that may not be searched
        return False


def _missing(path: Path) -> str:
    """Why a path is not a file, as a sentence without its full stop."""
    try:
        path.stat()
    except PermissionError:
        return "there is no permission to look into its folder"
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return "the name is too long"
        if error.errno == errno.ELOOP:
            return "the link leads to itself"
    except ValueError:
        return "the name contains a zero byte"
    return "there is no such file"


def _kind(path: Path) -> str:
    """The description of an existing path that is no regular file, or an empty text."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return ""
    if stat.S_ISREG(mode):
        return ""
    return "a folder" if stat.S_ISDIR(mode) else "a named pipe, a socket or a device"


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
        raise line_error(path, line, "this is not UTF-8 text.") from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise line_error(path, line, "this is not text, because it contains a zero byte.")
    return text


def read_lines(path: Path) -> list[str]:
    """The lines of a text file without their line ends, LF, CRLF or CR."""
    lines = read_text(path).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The numbers, from 1, and the stripped texts of the lines that are not blank."""
    for number, line in enumerate(read_lines(path), 1):
        if line.strip():
            yield number, line.strip()


def read_names(path: Path, noun: str) -> list[str]:
    """Unique names, one per line; blank lines are skipped.

    Raises:
        InputError: no such file, a repeated name, or no name at all.
    """
    return list(lines_by_name(path, noun))


def lines_by_name(path: Path, noun: str) -> dict[str, int]:
    """Name -> line, for the names of `read_names`; raises the same errors."""
    lines: dict[str, int] = {}
    for number, name in numbered_lines(path):
        check_unique(path, number, noun, name, lines)
    if not lines:
        raise InputError(f"{path}: the file is empty; it must list each {noun}.")
    return lines


def check_unique(path: Path, line: int, noun: str, name: str, lines: dict[str, int]) -> None:
    """Record the line of a name, or raise if the name has one already."""
    if name in lines:
        raise line_error(path, line, f"{noun} {name!r} occurs twice, first in line {lines[name]}.")
    lines[name] = line


def no_overlap(
    train: Path, train_ids: Iterable[str], test: Path, test_lines: dict[str, int]
) -> None:
    """Raise for an image that is in the training part and in the test part."""
    for name in train_ids:
        if name in test_lines:
            raise line_error(
                test,
                test_lines[name],
                f"image {name!r} is also in {train}; an image cannot be in both training and test.",
            )


def whole_number(path: Path, line: int, text: str, noun: str) -> int:
    """A whole number >= 0 of at most 18 decimal digits."""
    number = numbers.parse_whole(text)
    if number is None:
        end = f" of at most 18 digits, not {text[:40]!r}." if text.isdigit() else f", not {text!r}."
        raise line_error(path, line, f"{noun} must be a whole number{end}")
    return number


def digests(root: Path, files: Sequence[Path]) -> dict[str, str]:
    """The SHA-256 of files by their path below `root`, or by their name if they are elsewhere.

    If two files have the same name, the second is recorded as `folder/name`.
    """
    digest_by_name: dict[str, str] = {}
    for file in files:
        name = file.relative_to(root).as_posix() if file.is_relative_to(root) else file.name
        if name in digest_by_name:
            name = f"{file.absolute().parent.name}/{name}"
        digest_by_name[name] = digest_file(file)
    return digest_by_name


def part_codes(sizes: Sequence[int]) -> np.ndarray | None:
    """The part of each row, uint8 [N], from the sizes of both parts; None for a single part."""
    if len(sizes) < 2:
        return None
    return np.repeat(np.arange(2, dtype=np.uint8), sizes)
