"""Notice when another package hides one of benchkit's own.

`splits`, `baselines` and `leaderboard` are general words. A folder of that name in the working
directory or on the Python path is found first, and benchkit would then run with somebody else's
code, or without any method.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from benchkit.base.errors import BenchkitError

SIBLINGS = ("splits", "baselines", "leaderboard")
_ROOT = Path(__file__).resolve().parents[2]


def check_siblings() -> None:
    """Check that the packages installed beside benchkit are the ones that Python finds.

    Raises:
        BenchkitError: another package or module of the same name comes first; the message names
            both paths.
    """
    for name in SIBLINGS:
        spec = importlib.util.find_spec(name)
        own = _ROOT / name / "__init__.py"
        if spec is None:
            raise BenchkitError(f"the package '{name}' is missing: {own} should be installed")
        folders = list(spec.submodule_search_locations or [])
        origin = Path(spec.origin or (folders[0] if folders else "?"))
        if origin.resolve() != own:
            raise BenchkitError(
                f"the name '{name}' is taken: Python finds {origin}, which hides benchkit's own "
                f"{own.parent}; rename it, or take its folder off the Python path"
            )
