"""One module per source: each reads the files of a data set as a `splits.source.Source`."""
