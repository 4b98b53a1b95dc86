"""`MethodInfo`: the metadata of a method. This module does not import torch."""

from __future__ import annotations

from dataclasses import dataclass

# The entry point group under which installed packages offer methods.
ENTRY_POINTS = "benchkit.methods"

# family of methods -> its heading in the documentation, in the order of the documentation.
FAMILIES = {
    "plain": "Plain",
    "long-tailed": "Long-tailed",
    "partial": "Partial labels",
    "both": "Long tail and partial labels (PLT-MLC)",
    "candidates": "Candidate labels",
}


@dataclass(frozen=True)
class MethodInfo:
    """The metadata of a method, as shown by `benchkit methods`.

    Write the arguments as literals or as constants of the module: `baselines.core.descriptions`
    then reads them without importing the method.

    Attributes:
        key: the stable name, as in `--method KEY`.
        title: the name in tables.
        paper: authors, title, venue.
        year: of the paper.
        equation: the loss or rule in one or a few lines of plain text.
        unknown: how unknown labels are treated: "negative", "ignored" or "estimated".
        regimes: the label regimes for which the method is meant with its default hyperparameters;
            empty for all.
        needs: what the method uses besides a batch: "class counts", "memory per image", ...
        version: raised when the method's numbers change, which includes a changed default of a
            hyperparameter; part of a run's identity.
        oracle: the hidden truths that the method reads with its default hyperparameters; names of
            `baselines.core.Oracle`.
        family: one of `FAMILIES`; empty for a method outside of these groups.
        summary: the rule in a few words, for the table of methods.
    """

    key: str
    title: str
    paper: str
    year: int
    equation: str
    unknown: str
    regimes: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    version: str = "1"
    oracle: tuple[str, ...] = ()
    family: str = ""
    summary: str = ""
