"""Timing of two functions against each other in one process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable


def ratio(ours: Callable[[], object], peer: Callable[[], object], rounds: int = 5) -> float:
    """The median over rounds of (peer's seconds / our seconds).

    The two functions are called alternately, after one call of each that is not timed.
    """
    ours()
    peer()
    pairs = [(_seconds(peer), _seconds(ours)) for _ in range(rounds)]
    value = statistics.median(peer_seconds / our_seconds for peer_seconds, our_seconds in pairs)
    peer_median = statistics.median(peer_seconds for peer_seconds, _ in pairs)
    our_median = statistics.median(our_seconds for _, our_seconds in pairs)
    print(f"ours {our_median:.4f} s, peer {peer_median:.4f} s, ratio {value:.2f}")
    return value


def _seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start
