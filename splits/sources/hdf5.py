"""Reads a data set from the arrays of an HDF5 file, with the keys of an `arrays` source.

This package does not open HDF5: the caller of `load` passes the function that does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from splits.source import Source, digest_file
from splits.sources import arrays

FORM = "hdf5:FILE"
HELP = "An HDF5 file with the arrays of an arrays source; arrays in groups are named GROUP/NAME."
OPTIONS = dict(arrays.OPTIONS)
TOOLS = ("read_hdf5",)

check = arrays.check


def load(
    path: Path,
    *,
    read_hdf5: Callable[[Path, Sequence[str]], Mapping[str, np.ndarray]],
    labels: str = "",
    features: str = "X",
    images: str = "",
    minus_one: str = "unknown",
    zero: str = "negative",
    observed: str = "",
    candidates: str = "",
) -> Source:
    """Read a source from an HDF5 file.

    Args:
        path: the file.
        read_hdf5: (path, names) -> the arrays of these names that the file has, by name.
        labels: as in `arrays.load`.
        features: as in `arrays.load`.
        images: as in `arrays.load`.
        minus_one: as in `arrays.load`.
        zero: as in `arrays.load`.
        observed: as in `arrays.load`.
        candidates: as in `arrays.load`.

    Returns:
        The source.

    Raises:
        InputError: as `arrays.load`, and the errors of `read_hdf5`.
    """
    path = Path(path)
    content = read_hdf5(path, arrays.keys(labels, features, observed, candidates))
    return arrays.from_arrays(
        arrays.choose(path, content, labels, features, observed, candidates),
        path,
        path.stem,
        {path.name: digest_file(path)},
        images=images,
        minus_one=minus_one,
        zero=zero,
    )
