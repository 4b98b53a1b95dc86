"""Grids of runs: the plan, its execution, and the records."""
