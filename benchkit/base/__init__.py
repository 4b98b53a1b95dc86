"""Shared by all parts of benchkit: files, errors, terminal output, random numbers, typed fields."""
