"""Public data sets: fetching with checksums, and unpacking archives safely."""
