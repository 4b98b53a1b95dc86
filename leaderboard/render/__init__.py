"""Renderers of tables: terminal text, Markdown, CSV and an HTML page."""

from leaderboard.render.comma_separated import csv
from leaderboard.render.markdown_text import markdown
from leaderboard.render.page import html
from leaderboard.render.plain_text import plain
from leaderboard.render.terminal_text import terminal

__all__ = ["csv", "html", "markdown", "plain", "terminal"]
