"""Reading the JSON of a record, which may have been damaged or written by somebody else.

Python's parser accepts more than JSON (NaN, repeated keys) and limits less (digits, nesting, size).
Here a file that goes beyond these limits is an error in one sentence.
"""

from __future__ import annotations

import json
import math
import os
import stat
from collections import Counter
from pathlib import Path
from typing import Any

from leaderboard.errors import ReportError

MOST_BYTES = 16 << 20  # a record of 10,000 classes and 10,000 epochs has 3 MiB
MOST_DIGITS = 20  # of a whole number, enough for 64 bits
MOST_LEVELS = 32  # of objects and lists inside one another; records have 5

_SHOWN = 40  # characters of a text from the file in a message


def read(path: Path) -> Any:
    """Read a JSON file.

    Lone surrogates, which JSON can express and no encoding can print, are replaced by their escape
    sequence. They occur in commands, as part of file names that are not UTF-8.

    Raises:
        ReportError: the file cannot be read, is too large, or is not valid JSON.
    """
    try:
        content = _read_bytes(path)
    except OSError as error:
        raise unreadable(path, error) from error
    return parse(content, path)


def unreadable(path: Path, error: OSError) -> ReportError:
    """The error of a file or a folder that the system does not let this process read."""
    return ReportError(f"{path} cannot be read: {error.strerror or error}.")


def parse(content: bytes, path: Path) -> Any:
    """Parse the bytes of a JSON file; see `read`."""
    try:
        values = json.loads(
            content.decode("utf-8"),
            parse_constant=_refuse_constant,
            parse_int=_parse_int,
            parse_float=_parse_float,
            object_pairs_hook=_parse_object,
        )
        return _printable(values, 0)
    except UnicodeDecodeError as error:
        reason = f"byte {error.start} is not UTF-8"
    except json.JSONDecodeError as error:
        reason = f"it breaks off or is damaged at line {error.lineno}, column {error.colno}"
    except ValueError as error:
        reason = str(error)
    except RecursionError:
        reason = _TOO_DEEP
    raise ReportError(f"{path} is not valid JSON ({reason}): repeat the run, or remove its folder.")


def _read_bytes(path: Path) -> bytes:
    """The content of a regular file; a named pipe or a device would not end."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ReportError(f"{path} is not a regular file: remove it, and repeat the run.")
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ReportError(
            f"{path} has {max(status.st_size, len(content)) / 2**20:.1f} MiB, and a record has at "
            f"most {MOST_BYTES >> 20} MiB: repeat the run, or remove its folder."
        )
    return content


_TOO_DEEP = f"it is nested more than {MOST_LEVELS} levels deep"


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON, a missing number is null")


def _parse_int(text: str) -> int:
    digits = len(text.lstrip("-"))
    if digits > MOST_DIGITS:
        raise ValueError(f"a whole number has {digits} digits, and at most {MOST_DIGITS} are read")
    return int(text)


def _parse_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:_SHOWN]} is too large")
    return number


def _parse_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        repeated = counts.most_common(1)[0][0][:_SHOWN]
        raise ValueError(f"the key {repeated!r} occurs twice in one object")
    return values


def _printable(value: Any, level: int) -> Any:
    """A parsed value without lone surrogates; its nesting is limited."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode(errors="backslashreplace").decode()
    if not isinstance(value, dict | list):
        return value
    if level >= MOST_LEVELS:
        raise ValueError(_TOO_DEEP)
    if isinstance(value, list):
        return [_printable(item, level + 1) for item in value]
    return {_printable(k, level + 1): _printable(v, level + 1) for k, v in value.items()}
