"""The choices that the command line shows in its help; imports nothing heavy."""

from __future__ import annotations

from baselines.core.info import ORACLES as METHOD_ORACLES

SELECTIONS = ("last", "val", "test-oracle")
"""Selection rules: the last epoch, the best on validation, the best on test (an oracle)."""

ORACLES = (*METHOD_ORACLES, "best_test_epoch")
"""The hidden truths that scores from elsewhere can declare."""

SCALES = ("probability", "logit")
"""The scales of scores from elsewhere."""

DEFAULT_WIDTH = 16
"""The most runs in one stack."""

SEARCH_SELECTIONS = ("val", "val-observed")
"""The scores that choose among draws: by true labels, or by what is observed in validation."""
