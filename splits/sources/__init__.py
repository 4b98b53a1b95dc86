"""Readers that turn the files of a data set into a `splits.source.Source`, one module each."""
