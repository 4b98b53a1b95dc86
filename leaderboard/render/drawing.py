"""matplotlib figures as inline SVG in the colours and the font of the page.

Figures are drawn in placeholder colours, which become CSS variables in the SVG, so one drawing
serves the light and the dark theme. The same figure always gives the same bytes.
"""

import io
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK = "#000101"
MUTED = "#000202"
RULE = "#000303"
SHOT_COLOURS = {"many": "#000404", "medium": "#000505", "few": "#000606"}
SHOT_MARKERS = {"many": "o", "medium": "s", "few": "D"}
_VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    RULE: "var(--rule)",
    **{colour: f"var(--{shot})" for shot, colour in SHOT_COLOURS.items()},
}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "leaderboard",
    "text.parse_math": False,
    "font.size": 10.5,
    "text.color": INK,
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.labelsize": 10.5,
    "grid.color": RULE,
    "grid.linewidth": 0.7,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "legend.frameon": False,
    "legend.fontsize": 10.5,
    "figure.facecolor": "none",
}


def draw(
    paint: Callable[[Axes], None], size: tuple[float, float], name: str, alternative: str
) -> str:
    """Draw one figure as an SVG element for an HTML page.

    Args:
        paint: draws on the axes.
        size: width and height in inches.
        name: the prefix of the ids in the SVG, unique on the page.
        alternative: a description of the figure for screen readers.

    Returns:
        An `<svg>` element without prolog, metadata or namespace addresses.
    """
    text = io.StringIO()
    with _style():
        figure = Figure(figsize=size, layout="constrained")
        paint(figure.add_subplot())
        no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(text, format="svg", metadata=no_metadata, transparent=True)
    return _inline(text.getvalue(), name, alternative)


@contextmanager
def _style() -> Iterator[None]:
    with matplotlib.rc_context(), warnings.catch_warnings():
        # Text stays text in the SVG, so the browser's fonts draw it.
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def _inline(svg: str, name: str, alternative: str) -> str:
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg)
    svg = svg.replace("xlink:href", "href")
    svg = re.sub(r'(?<= id=")|(?<=href="#)|(?<=url\(#)', f"{name}-", svg)
    for colour, variable in _VARIABLES.items():
        svg = re.sub(rf"(?<=(?:stroke|..fill): ){colour}", variable, svg)
    tag, rest = svg.split(">", 1)
    tag = re.sub(r' (width|height)="[^"]*"', "", tag)  # the page sets the size of the view box
    return f'{tag} role="img" aria-label="{escape(alternative)}">{rest}'
