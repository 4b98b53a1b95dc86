"""The leaderboard: metrics, run records, tables, plots and the HTML page.

The package computes metrics from scores, reads run records, groups them into tables that never mix
incomparable runs, and renders the tables for a terminal, a paper, a spreadsheet and a browser. It
does not need torch, so a page can be rebuilt from the records alone.
"""
