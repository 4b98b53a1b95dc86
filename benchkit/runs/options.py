"""The choices of a grid that the command line shows in its help; imports nothing heavy."""

from __future__ import annotations

SELECTIONS = ("last", "val", "test-oracle")
"""Selection rules: the last epoch, the best on validation, the best on test (an oracle)."""

DEFAULT_WIDTH = 16
"""The most runs in one stack."""
