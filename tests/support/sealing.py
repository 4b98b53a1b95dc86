"""The digest of run records that a test edits for another reason than the digest itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from leaderboard import seal


def resealed(values: dict[str, Any]) -> dict[str, Any]:
    """The JSON of a record with the digest of its present content; older formats have none."""
    others = {key: value for key, value in values.items() if key != seal.KEY}
    return others if others.get("format") in (1, 2) else seal.sealed(others, Path("run.json"))


def as_format_2(values: dict[str, Any]) -> dict[str, Any]:
    """The JSON of a record in format 2, which has no digests."""
    removed = ("format", seal.KEY, "scores_digest")
    return {"format": 2, **{key: value for key, value in values.items() if key not in removed}}


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the JSON of a record on disk, and give it the digest of its new content."""
    values = json.loads(path.read_text(encoding="utf-8"))
    change(values)
    path.write_text(json.dumps(resealed(values), indent=1), encoding="utf-8")
