"""The rules that turn a label matrix into a benchmark split.

`sources` reads label matrices from files, `long_tail` selects a long-tailed subset of the images,
`regimes` selects the labels that are observed, `shots` groups the classes, `holdout` selects the
validation part, `statistics` counts labels, and `published` rebuilds the splits of papers. Label
codes are int8: 1 positive (or candidate), 0 negative, -1 unknown.

Splits are deterministic functions of their arguments: random numbers are passed in as functions.
Features, HDF5 and training belong to other packages.
"""
