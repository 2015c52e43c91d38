"""The page that people read: one HTML file with everything inside."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

from pipeline.report.formats import Table, shown, to_html
from pipeline.report.packed import packed_section
from pipeline.report.style import Picture, inline, variables

PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>$title</title>
<style>
:root { $colours }
$style
</style>
</head>
<body>
<header>
$up<h1>$title</h1>
<p class="headline">$headline</p>
$cards
</header>
<nav aria-label="Contents"><details open><summary>Contents</summary>
$contents
</details></nav>
<main>
$chapters
</main>
<script>
$script
</script>
</body>
</html>
""")


class Listing(str):
    """Lines to copy, always in sight."""


class Folded(str):
    """Lines to unfold."""


class Glossary(dict[str, str]):
    """Words and their meanings."""


@dataclass(frozen=True)
class Card:
    """A question that a reader comes with, the answer in a few words, and more on it; section: where it is shown."""

    question: str
    answer: str
    more: str
    section: str
    code: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the page: a heading, a note below it, and what it shows. numbers: CSV files behind it, by name.

    A picture as bytes is PNG.
    """

    heading: str
    note: str
    content: Table | Picture | bytes | Listing | Folded | Glossary
    numbers: Mapping[str, bytes] = field(default_factory=dict)
    footnotes: Sequence[str] = ()


@dataclass(frozen=True)
class Chapter:
    """Sections under one heading."""

    heading: str
    sections: Sequence[Section]


def page(title: str, headline: str, cards: Iterable[Card] = (), chapters: Sequence[Chapter] = (), up: str = "") -> str:
    """The whole page. All text is escaped. up: address of the page over all, where there is one."""
    chapters = [chapter for chapter in chapters if chapter.sections]
    return PAGE.substitute(
        title=html.escape(title),
        headline=html.escape(headline),
        up=f'<p class="up"><a href="{html.escape(up)}">All results</a></p>\n' if up else "",
        colours=variables(),
        style=(HERE / "page.css").read_text(encoding="utf-8"),
        script=(HERE / "page.js").read_text(encoding="utf-8"),
        cards=_cards(cards),
        contents=_contents(chapters),
        chapters="\n".join([*map(_chapter, chapters), packed_section()]),
    )


HERE = Path(__file__).parent


def anchor(heading: str) -> str:
    """The id of what is under a heading."""
    return re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-")


def link(heading: str) -> str:
    """A link to what is under a heading of this page."""
    return f'<a href="#{anchor(heading)}">{html.escape(heading)}</a>'


def _cards(cards: Iterable[Card]) -> str:
    entries = [
        f'<div><dt><a href="#{anchor(card.section)}">{html.escape(card.question)}</a></dt>'
        f'<dd class="answer">{html.escape(card.answer)}</dd>'
        f"<dd>{f'<code>{html.escape(card.code)}</code>' if card.code else html.escape(card.more)}</dd></div>"
        for card in cards
    ]
    return f'<dl class="cards">{"".join(entries)}</dl>' if entries else ""


def _contents(chapters: Sequence[Chapter]) -> str:
    entries = [_list([link(part.heading) for part in chapter.sections]) for chapter in chapters]
    linked = [f"{link(chapter.heading)}{entry}" for chapter, entry in zip(chapters, entries, strict=True)]
    return _list([*linked, '<a href="#packed">Look into a packed file</a>'])


def _list(items: Iterable[str]) -> str:
    return f"<ol>{''.join(f'<li>{item}</li>' for item in items)}</ol>"


def _chapter(chapter: Chapter) -> str:
    heading = f'<h2 id="{anchor(chapter.heading)}">{html.escape(chapter.heading)}</h2>'
    return "\n".join([heading, *map(_section, chapter.sections)])


def _section(section: Section) -> str:
    notes = f'<div class="note">{_list(map(html.escape, section.footnotes))}</div>' if section.footnotes else ""
    links = ", ".join(_download(name, content) for name, content in section.numbers.items())
    numbers = f'<p class="note csv">The numbers: {links}</p>' if links else ""
    parts = [f"<h3>{html.escape(section.heading)}</h3>", _body(section), notes, numbers]
    return "\n".join([f'<section id="{anchor(section.heading)}">', *filter(None, parts), "</section>"])


def _download(name: str, content: bytes) -> str:
    return f'<a download="{html.escape(name)}" href="data:text/csv;base64,{_base64(content)}">{html.escape(name)}</a>'


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _body(section: Section) -> str:
    note, content, heading = html.escape(section.note), section.content, html.escape(section.heading)
    above = f'<p class="note">{note}</p>\n'
    match content:
        case Picture():
            panels = "\n".join(
                inline(panel, f"{anchor(section.heading)}-{i}") for i, panel in enumerate(content.panels)
            )
            says = f"<figcaption>{html.escape(content.says)} {note}</figcaption>"
            return (
                f'<figure>{says}\n<div class="panels" style="--columns: {content.columns}">\n{panels}\n</div></figure>'
            )
        case Table():
            switch = '<label><input type="checkbox"> all columns</label>' if _hides(content) else ""
            region = f'<div class="table" role="region" tabindex="0" aria-label="{heading}">'
            return f"{above}{region}{switch}{to_html(content)}</div>"
        case bytes():
            return f'{above}<figure><img alt="{heading}" src="data:image/png;base64,{_base64(content)}"></figure>'
        case Listing():
            return f"{above}<pre>{html.escape(content)}</pre>"
        case Folded():
            return f"<details><summary>{note}</summary><pre>{html.escape(content)}</pre></details>"
        case Glossary():
            words = (f"<dt>{html.escape(word)}</dt><dd>{html.escape(said)}</dd>" for word, said in content.items())
            return f'{above}<dl class="glossary">{"".join(words)}</dl>'


def _hides(table: Table) -> bool:
    return bool(table.first) and len(table.first) < len(shown(table.frame))
