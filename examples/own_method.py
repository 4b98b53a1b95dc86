"""A method of your own: one class, checked against the contract, in the same leaderboard."""

import numpy as np

import benchkit
from baselines.core import positives
from baselines.core.losses import bce_terms


class Cautious(benchkit.Method):
    """BCE in which unknown labels count half as much as negatives."""

    info = benchkit.MethodInfo(
        key="cautious",
        title="Cautious BCE",
        paper="an example",
        year=2026,
        equation="L = mean [ w BCE(z, y) ],  w = 1/2 where the label is unknown, else 1",
        unknown="estimated",
    )

    def loss(self, run, logits, batch, clock, draw):
        """The equation, on logits [B, C] and observed labels [B, C]."""
        weight = 1 - 0.5 * (batch.observed == -1).to(logits.dtype)
        return (weight * bce_terms(logits, positives(batch.observed, logits.dtype))).mean()


# The same checks that every built-in method passes: it learns, its gradients are finite, it
# repeats, and several seeds trained together give the same result as each alone.
benchkit.check_method(Cautious)

rng = np.random.default_rng(0)
labels = (rng.random((400, 5)) < [0.5, 0.3, 0.15, 0.08, 0.04]).astype(np.int8)
features = labels @ rng.normal(size=(5, 16)) + rng.normal(size=(400, 16))
np.savez("mine.npz", X=features.astype(np.float32), Y=labels)

benchkit.make_split("arrays:mine.npz", "mine.h5", regime="ppl:0.5", many=60, few=20)
benchkit.run("mine.h5", ["bce", Cautious], out="runs", seeds=3)
print(benchkit.report("runs"))
