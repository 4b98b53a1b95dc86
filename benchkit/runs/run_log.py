"""The log of a folder of runs: what its processes train, and how far they are.

    2026-01-31T12:00:00Z [4711] asl seeds 0 1 2: epoch 7 of 20

Every line begins with the time (UTC) and the process id. Processes that share a folder append to
the same file, each line in one write. Reports ignore the file; it may be removed at any time.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

from benchkit.base.files import append_line

RUN_LOG = "run.log"

_INTERVAL = 10.0  # seconds between two lines about epochs


class RunLog:
    """Appends lines to the log of a folder of runs; a log that cannot be written is ignored.

    Args:
        runs: the folder.
        clock: seconds that never decrease.
    """

    def __init__(self, runs: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = runs / RUN_LOG
        self._clock = clock

    def write(self, text: str) -> None:
        """Append one line; line breaks in the text become spaces."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        with contextlib.suppress(OSError):
            append_line(self._path, f"{now} [{os.getpid()}] {' '.join(text.split())}")

    def epochs(self, title: str, total: int) -> Callable[[], None]:
        """A function to call after every epoch of a stack; it writes at most every 10 seconds."""
        done, written = 0, self._clock()

        def advance() -> None:
            nonlocal done, written
            done += 1
            if self._clock() >= written + _INTERVAL:
                written = self._clock()
                self.write(f"{title}: epoch {done} of {total}")

        return advance
