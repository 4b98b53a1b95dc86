"""The digest of a run record, which shows whether a file was changed after it was written.

    digest = SHA-256, in hexadecimal digits, of the canonical JSON of all other keys

The digest reveals damage and edits. It does not prevent forgery: anybody can compute it again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from leaderboard import json_file
from leaderboard.arguments import canonical
from leaderboard.errors import ReportError

KEY = "digest"


def content_digest(values: Mapping[str, Any]) -> str:
    """The digest of a JSON object; the key `digest` is ignored."""
    others = {key: value for key, value in values.items() if key != KEY}
    return hashlib.sha256(canonical(others).encode()).hexdigest()


def sealed(values: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """A JSON object with its digest.

    Args:
        values: the object without a digest.
        path: the file to write, for messages.

    Returns:
        The object as a reader will parse it, so that both compute the same digest.

    Raises:
        ReportError: the object goes beyond the limits of `leaderboard.json_file`.
        ValueError: a number is NaN or infinite.
        TypeError: JSON cannot represent a value.
    """
    read = json_file.parse(json.dumps(values, allow_nan=False).encode(), path)
    return {**read, KEY: content_digest(read)}


def check(values: Mapping[str, Any], path: Path) -> None:
    """Compare a parsed JSON object with its digest.

    Raises:
        ReportError: the digest is missing or does not match.
    """
    if values.get(KEY) != content_digest(values):
        raise ReportError(
            f"{path}: the content does not match its digest, so the file was changed after it was "
            "written: repeat the run."
        )
