"""Names with markup in them on the report's page: every place of the page that shows a text shows it as a text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from html.parser import HTMLParser

import pandas as pd
from matplotlib.axes import Axes

from benchmarks.faults.finding import Bench, Finding
from pipeline.report.formats import Table
from pipeline.report.page import Card, Chapter, Folded, Glossary, Listing, Section, page
from pipeline.report.style import Panel, Picture

TITLE = "Markup in names"
HARMLESS = "a name"
HOSTILE = (
    "<script>window.harmed = 1</script>",
    '<img src=x onerror="window.harmed = 1">',
    '" onmouseover="window.harmed = 1',
    "' onmouseover='window.harmed = 1",
    "</style></script><svg onload=window.harmed=1>",
    "</pre></details></table></section>",
    "<!--",
    "]]><a>",
    "&lt;script&gt;",
    "$x & ${y} $$ %s {z}",
    "</title><base href='https://example.invalid/'>",
)


def _with(heading: str, note: str, content: Table | bytes | Listing | Folded | Glossary | Picture) -> str:
    return page("", "", [], [Chapter("a chapter", [Section(heading, note, content)])])


def _drawn(text: str) -> str:
    """A picture with a text in its title, on an axis, in a legend and in its sentence."""

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], label=text)
        axes.set_xlabel(text)
        axes.legend()

    return _with("", "", Picture([Panel(text, draw)], columns=1, says=text))


TABLE = Table(pd.DataFrame({"a": [1]}))
PLACES: dict[str, Callable[[str], str]] = {
    "title": lambda text: page(text, ""),
    "headline": lambda text: page("", text),
    "card": lambda text: page("", "", [Card(text, text, text, "a", text)]),
    "chapter": lambda text: page("", "", [], [Chapter(text, [Section("", "", TABLE)])]),
    "heading of a table": lambda text: _with(text, "", TABLE),
    "heading of a picture": lambda text: _with(text, "", b"\x89PNG"),
    "note of a table": lambda text: _with("", text, TABLE),
    "note of a picture": lambda text: _with("", text, b"\x89PNG"),
    "note of a text": lambda text: _with("", text, Folded("a")),
    "source": lambda text: page("", "", [], [Chapter("", [Section("", "", TABLE, footnotes=[text])])]),
    "name of a file": lambda text: page("", "", [], [Chapter("", [Section("", "", TABLE, {text: b""})])]),
    "column": lambda text: _with("", "", Table(pd.DataFrame({text: [1]}))),
    "cell": lambda text: _with("", "", Table(pd.DataFrame({"method": [text, None], "top1": [1.0, 2.0]}))),
    "lines to copy": lambda text: _with("", "", Listing(text)),
    "text to unfold": lambda text: _with("", "", Folded(text)),
    "meaning": lambda text: _with("", "", Glossary({text: text})),
    "figure": _drawn,
}


class Structure(HTMLParser):
    """Elements of a page with the names of their attributes, its comments, and all that it shows as text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, ...]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element begins."""
        self.elements.append((tag, *(name for name, _ in attrs)))
        self.texts += [value for name, value in attrs if name in ("alt", "aria-label") and value]

    def handle_endtag(self, tag: str) -> None:
        """An element ends."""
        self.elements.append((f"/{tag}",))

    def handle_comment(self, data: str) -> None:
        """A comment."""
        self.elements.append(("comment",))

    def handle_data(self, data: str) -> None:
        """A text."""
        self.texts.append(data)


def run(bench: Bench) -> Iterator[Finding]:  # noqa: ARG001
    """One finding: every text in every place."""
    faults = []
    for place, made in PLACES.items():
        plain = Structure(made(HARMLESS)).elements
        for text in HOSTILE:
            found = Structure(made(text))
            if found.elements != plain:
                faults.append(f"{text} as {place}: is markup")
            elif not any(text in each for each in found.texts):
                faults.append(f"{text} as {place}: is not shown as it is")
    yield Finding("names on the page are text", len(PLACES) * len(HOSTILE), faults, f"{len(PLACES)} places of the page")
