"""The features of a split are those of its fingerprint: checked while the first runs train.

The digest of the features takes longer than reading them, so a thread computes it beside the
training, and no record is written before it is known.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

from benchkit.base.errors import BenchkitError
from benchkit.split.model import Split


class FeatureCheck:
    """A comparison of a split's features with its stored fingerprints, in a thread.

    Args:
        split: the split, with its features in memory.
        fingerprints: the fingerprints of its file.
        path: the file, for the message.
    """

    def __init__(self, split: Split, fingerprints: Mapping[str, str], path: object) -> None:
        self._split, self._expected, self._path = split, fingerprints["features"], path
        self._actual = ""
        self._thread = threading.Thread(target=self._compute, daemon=True)
        self._thread.start()

    def _compute(self) -> None:
        self._actual = self._split.features_fingerprint()

    def confirm(self) -> None:
        """Wait for the digest.

        Raises:
            BenchkitError: the features were changed after the file was written.
        """
        self._thread.join()
        if self._actual != self._expected:
            raise BenchkitError(
                f"{self._path} is damaged: its features are not those of its fingerprint; make the "
                "split again, or restore the file"
            )
