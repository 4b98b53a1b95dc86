"""Public data sets: a catalogue, downloads with checksums, and safe unpacking."""
