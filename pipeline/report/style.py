"""How figures look, for all of them: readable in grey, by the colour-blind, and the same bytes for the same data.

A figure is drawn as panels. A file for papers has all of them, on white. On the page each is a picture of its own, so
that they stand beside or below each other as the window has room, and its colours are the page's, which has two themes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any, Literal
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import LogFormatter, LogLocator
from matplotlib.transforms import offset_copy
from PIL import Image

INK, SOFT, LINE, PAPER = "#1b1f24", "#57606a", "#d0d7de", "#ffffff"
# On white, then on a dark page. The first ones are Okabe and Ito's: distinct for the colour-blind; their lightness
# differs, so they are distinct in grey too.
BOTH = {
    "#0072b2": "#4aa8e8",
    "#e69f00": "#f0b232",
    "#009e73": "#2ec79a",
    "#cc79a7": "#e39cc4",
    "#56b4e9": "#9bd4f7",
    "#d55e00": "#ff8a3d",
    "#f0e442": "#f0e442",
    INK: "#e6edf3",
    SOFT: "#9da7b3",
    LINE: "#30363d",
    PAPER: "#0d1117",
}
COLOURS = tuple(BOTH)[:7]
HATCHES = ("", "///", "...", "xxx", "\\\\\\", "+++", "ooo")
MARKERS = "os^DvP*X"
WIDTH, HEIGHT = 3.6, 2.9  # inches of a panel, which has room on a phone
DPI, POINTS = 150, 72  # an inch
SVG = "http://www.w3.org/2000/svg"
ElementTree.register_namespace("", SVG)
STYLE: Any = {
    "axes.axisbelow": True,
    "axes.edgecolor": SOFT,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "font.size": 9,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "hatch.linewidth": 0.4,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "weight-fixing",
    "text.color": INK,
    "text.parse_math": False,  # names may have dollars in them
    "xtick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.color": SOFT,
    "ytick.labelcolor": INK,
}


@dataclass(frozen=True)
class Panel:
    """A part of a figure: its title, what draws it, and its height in inches."""

    title: str
    draw: Callable[[Axes], None]
    height: float = HEIGHT

    @cached_property
    def figure(self) -> Figure:
        """Drawn, with everything in its place, which takes the longest."""
        with mpl.rc_context(STYLE):
            layout = ConstrainedLayoutEngine()
            figure = Figure(figsize=(WIDTH, self.height), facecolor="none", layout=layout)
            axes = figure.add_subplot(facecolor="none")
            self.draw(axes)
            axes.set_title(self.title)
            layout.execute(figure)
        figure.set_layout_engine("none")
        return figure

    @cached_property
    def _vectors(self) -> bytes:
        content = io.BytesIO()
        with mpl.rc_context(STYLE):
            self.figure.savefig(content, format="svg", metadata={"Date": None, "Creator": None})
        return content.getvalue()

    def svg(self, name: str) -> Element:
        """As an SVG element; name: for its ids, which no other panel of the same page has."""
        root = ElementTree.fromstring(self._vectors)
        for metadata in root.findall("{*}metadata"):
            root.remove(metadata)
        for element in root.iter():
            for key, value in list(element.attrib.items()):
                if key.endswith("}href"):
                    del element.attrib[key]
                    element.set("href", f"#{name}-{value.removeprefix('#')}")
                else:
                    element.set(key, f"{name}-{value}" if key == "id" else value.replace("url(#", f"url(#{name}-"))
        return root

    def pixels(self) -> Image.Image:
        """On white."""
        content = io.BytesIO()
        with mpl.rc_context(STYLE):
            self.figure.savefig(content, format="png", dpi=DPI, facecolor=PAPER)
        return Image.open(content)


@dataclass(frozen=True)
class Picture:
    """A figure: panels, so many side by side where there is room, and a sentence that says what to see in them."""

    panels: Sequence[Panel]
    columns: int
    says: str


def render(picture: Picture) -> dict[str, bytes]:
    """All panels on white as "svg" and "png", without a date or a version: the same figure gives the same bytes."""
    columns = picture.columns
    rows = [picture.panels[first : first + columns] for first in range(0, len(picture.panels), columns)]
    tops = [*accumulate((max(panel.height for panel in row) for row in rows), initial=0.0)]
    places = [(panel, WIDTH * x, tops[y]) for y, row in enumerate(rows) for x, panel in enumerate(row)]
    size = WIDTH * columns, tops[-1]
    return {"svg": _vectors(places, size), "png": _pixels(places, size)}


Places = Sequence[tuple[Panel, float, float]]  # with the inches from the left and from the top


def _vectors(places: Places, size: tuple[float, float]) -> bytes:
    width, height = (POINTS * each for each in size)
    root = Element(f"{{{SVG}}}svg", viewBox=f"0 0 {width:g} {height:g}", width=f"{width:g}pt", height=f"{height:g}pt")
    root.append(Element(f"{{{SVG}}}rect", width="100%", height="100%", fill=PAPER))
    for i, (panel, left, top) in enumerate(places):
        part = panel.svg(f"panel-{i}")
        root.append(part)
        part.attrib |= {"x": f"{POINTS * left:g}", "y": f"{POINTS * top:g}"}
        part.attrib |= {side: part.attrib[side].removesuffix("pt") for side in ("width", "height")}
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)


def _pixels(places: Places, size: tuple[float, float]) -> bytes:
    whole = Image.new("RGB", (round(DPI * size[0]), round(DPI * size[1])), PAPER)
    for panel, left, top in places:
        whole.paste(panel.pixels(), (round(DPI * left), round(DPI * top)))
    content = io.BytesIO()
    whole.save(content, format="png")
    return content.getvalue()


def inline(panel: Panel, name: str) -> str:
    """A panel as an SVG element for the page, in its colours, and with text that is text; name: for its ids."""
    root = panel.svg(name)
    for element in root.iter():
        for key, value in element.attrib.items():
            element.set(key, _in_page(value))
    for side in ("width", "height"):
        del root.attrib[side]
    root.attrib |= {"role": "img", "aria-label": panel.title}
    return ElementTree.tostring(root, encoding="unicode")


def short(name: str, most: int = 30) -> str:
    """A name that leaves room for the figure: the two ends of a long one, which tell apart what begins alike."""
    return name if len(name) <= most else f"{name[: most // 2 - 1]}…{name[-(most - most // 2) :]}"


def legend_below(axes: Axes, points: float = 30, columns: int = 2) -> None:
    """A legend so many points below the axes, where it covers nothing."""
    place = offset_copy(axes.transAxes, axes.get_figure(root=True), y=-points, units="points")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 0), bbox_transform=place, ncols=columns, handlelength=1.5)


def logarithmic(axes: Axes, which: Literal["x", "y"]) -> None:
    """A logarithmic scale whose few labels are plain text."""
    axes.set(**{f"{which}scale": "log"})
    axis: Axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(LogLocator(numticks=6))
    axis.set_major_formatter(LogFormatter())
    axis.set_minor_formatter(LogFormatter(minor_thresholds=(1.0, 0.4)))


def variables() -> str:
    """The colours of `inline` as CSS variables, which have a value for each theme."""
    return " ".join(f"{_variable(light)}: light-dark({light}, {dark});" for light, dark in BOTH.items())


def _variable(colour: str) -> str:
    names = {INK: "--ink", SOFT: "--soft", LINE: "--line", PAPER: "--paper"}
    return names.get(colour, f"--c{list(BOTH).index(colour)}")


def _in_page(value: str) -> str:
    """The value of an SVG attribute with the page's colours and font."""
    value = re.sub("|".join(BOTH), lambda found: f"var({_variable(found[0])})", value)
    return re.sub(r"(font: [^']*)'[^;]*", r"\1system-ui, sans-serif", value)
