"""How figures look, for all of them: readable in grey, by the colour-blind, and the same bytes for the same data."""

from __future__ import annotations

import io
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

# Okabe and Ito's colours: distinct for the colour-blind; their lightness differs, so they are distinct in grey too.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
HATCHES = ("", "///", "...", "xxx", "\\\\\\", "+++", "ooo")
STYLE: Any = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 9,
    "grid.alpha": 0.3,
    "grid.linewidth": 0.6,
    "hatch.linewidth": 0.4,
    "legend.frameon": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "weight-fixing",
    "text.parse_math": False,  # names may have dollars in them
}
MARKERS = "os^DvP*X"


def render(figure: Figure, kind: str) -> bytes:
    """A figure as "svg" or "png", without a date or a version, so that the same figure gives the same bytes."""
    content = io.BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(
            content,
            format=kind,
            dpi=150,
            metadata={"Date": None, "Creator": None} if kind == "svg" else {"Software": None},
        )
    return content.getvalue()
