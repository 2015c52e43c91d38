"""The page that people read: one HTML file with everything inside."""

from __future__ import annotations

import base64
import html
from dataclasses import dataclass
from string import Template

import pandas as pd

from pipeline.report.tables import to_html

PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #ffffff; --line: #d0d7de; --soft: #57606a; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --paper: #0d1117; --line: #30363d; --soft: #9da7b3; } }
body { color: var(--ink); background: var(--paper); font: 16px/1.5 system-ui, sans-serif; max-width: 68rem;
  margin: 0 auto; padding: 1rem; }
.headline { font-size: 1.4rem; }
.table { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .6rem; text-align: left; vertical-align: bottom; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
figure { margin: 1.5rem 0; }
figure img { background: #fff; max-width: 100%; height: auto; }
figcaption, .note { color: var(--soft); font-size: .9rem; }
@media print { body { max-width: none; } section { break-inside: avoid; } }
</style>
</head>
<body>
<h1>$title</h1>
<p class="headline">$headline</p>
$sections
</body>
</html>
""")


@dataclass(frozen=True)
class Section:
    """One part of the page: a heading, a note below it, and a table or an SVG figure."""

    heading: str
    note: str
    content: pd.DataFrame | bytes


def page(title: str, headline: str, sections: list[Section]) -> str:
    """The whole page. All text is escaped."""
    return PAGE.substitute(
        title=html.escape(title),
        headline=html.escape(headline),
        sections="\n".join(_section(section) for section in sections),
    )


def _section(section: Section) -> str:
    if isinstance(section.content, bytes):
        data = base64.b64encode(section.content).decode()
        caption = f"<figcaption>{html.escape(section.note)}</figcaption>"
        image = f'<img alt="{html.escape(section.heading)}" src="data:image/svg+xml;base64,{data}">'
        body = f"<figure>{image}{caption}</figure>"
    else:
        body = f'<p class="note">{html.escape(section.note)}</p>\n<div class="table">{to_html(section.content)}</div>'
    return f"<section>\n<h2>{html.escape(section.heading)}</h2>\n{body}\n</section>"
