"""The leaderboard: run records in, tables, plots and one page out.

What lives here: reading the records that runs leave behind, grouping them into tables that never
mix what cannot be compared, and writing those tables for a terminal, a paper, a spreadsheet and a
browser. What does not: training, metrics, split files. The room needs no torch, so anybody who has
the records can build the page again.
"""
