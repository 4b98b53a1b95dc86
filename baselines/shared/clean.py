"""A base class that trains a method on the true labels, which gives its upper bound."""

from __future__ import annotations

from dataclasses import replace

from baselines.core import Batch, Clock, Draw, Method, Problem, Run, Sampling, Setup, Step

LABELS = "true_labels"


class OnTrueLabels(Method):
    """A mixin: put it before a method in the list of bases to train that on the true labels."""

    def oracle(self) -> tuple[str, ...]:
        """The true labels, and the oracles of the method."""
        return tuple(dict.fromkeys((LABELS, *super().oracle())))

    def _clean(self, problem: Problem) -> Problem:
        return replace(problem, labels=problem.oracle[LABELS], regime="full")

    def setup(self, problem: Problem, draw: Draw) -> Setup:
        """Set the method up on complete labels, and store these, one row per image."""
        clean = self._clean(problem)
        setup = super().setup(clean, draw)
        setup.memory[LABELS] = clean.observed
        return setup

    def epoch_length(self, problem: Problem, stage: int) -> int:
        """The same as for the method on complete labels."""
        return super().epoch_length(self._clean(problem), stage)

    def sampling(self, run: Run, problem: Problem, clock: Clock) -> Sampling:
        """The same as for the method on complete labels."""
        return super().sampling(run, self._clean(problem), clock)

    def step(self, run: Run, batch: Batch, clock: Clock, draw: Draw) -> Step:
        """Run the method's step on the true labels of the batch."""
        return super().step(
            run, replace(batch, observed=run.memory[LABELS][batch.rows]), clock, draw
        )
