"""Splits: making, storing, reading, summarising, comparing and drawing them."""
