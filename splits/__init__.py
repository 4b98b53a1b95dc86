"""The rules that turn a label matrix into a benchmark split.

Here live: the sources (`splits.sources`, files to label matrices), the long-tailed selection of
images (`long_tail`), what an annotator gets to see (`regimes`), the shot groups (`shots`), the
validation part (`holdout`) and the counts behind all of them (`statistics`). Label codes are int8:
1 positive (or candidate), 0 negative, -1 unknown.

Not here: random numbers (they come in as arguments, as functions), features, HDF5,
training.
"""
