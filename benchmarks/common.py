"""Fair timing inside one process: the peers in turn, medians of pairs, a ratio."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable


def ratio(ours: Callable[[], object], peer: Callable[[], object], rounds: int = 5) -> float:
    """The median over rounds of (peer's seconds / our seconds), measured one after the other."""
    ours()
    peer()
    pairs = []
    for _ in range(rounds):
        pairs.append((_seconds(peer), _seconds(ours)))
    value = statistics.median(theirs / mine for theirs, mine in pairs)
    mine = statistics.median(mine for _, mine in pairs)
    theirs = statistics.median(theirs for theirs, _ in pairs)
    print(f"ours {mine:.4f} s, peer {theirs:.4f} s, ratio {value:.2f}")
    return value


def _seconds(function: Callable[[], object]) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began
