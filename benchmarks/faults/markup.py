"""Names with markup in them on the report's page: every place of the page that shows a text shows it as a text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from html.parser import HTMLParser

import pandas as pd

from benchmarks.faults.finding import Bench, Finding
from pipeline.report.page import Listing, Section, page

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
PLACES: dict[str, Callable[[str], str]] = {
    "title": lambda text: page(text, "", []),
    "headline": lambda text: page("", text, []),
    "heading of a table": lambda text: page("", "", [Section(text, "", pd.DataFrame({"a": [1]}))]),
    "heading of a picture": lambda text: page("", "", [Section(text, "", b"<svg/>")]),
    "note of a table": lambda text: page("", "", [Section("", text, pd.DataFrame({"a": [1]}))]),
    "note of a picture": lambda text: page("", "", [Section("", text, b"<svg/>")]),
    "note of a text": lambda text: page("", "", [Section("", text, "a")]),
    "column": lambda text: page("", "", [Section("", "", pd.DataFrame({text: [1]}))]),
    "cell": lambda text: page("", "", [Section("", "", pd.DataFrame({"method": [text, None], "top1": [1.0, 2.0]}))]),
    "lines to copy": lambda text: page("", "", [Section("", "", Listing(text))]),
    "text to unfold": lambda text: page("", "", [Section("", "", text)]),
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
        self.texts += [value for name, value in attrs if name == "alt" and value]

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
