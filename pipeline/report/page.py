"""The page that people read: one HTML file with everything inside."""

from __future__ import annotations

import base64
import html
from dataclasses import dataclass
from string import Template

import pandas as pd

from pipeline.report.formats import to_html
from pipeline.report.packed import packed_section

PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>$title</title>
<style>
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #ffffff; --line: #d0d7de; --soft: #57606a; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --paper: #0d1117; --line: #30363d; --soft: #9da7b3; } }
body { color: var(--ink); background: var(--paper); font: 16px/1.5 system-ui, sans-serif; max-width: 84rem;
  margin: 0 auto; padding: 1rem; }
.headline { font-size: 1.4rem; }
.note, figcaption { max-width: 60rem; }
.table { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .6rem; text-align: left; vertical-align: bottom; }
td:first-child { white-space: nowrap; }
th button { all: unset; cursor: pointer; }
th button:focus-visible { outline: 2px solid; }
th[aria-sort=ascending] button::after { content: " ▲"; }
th[aria-sort=descending] button::after { content: " ▼"; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
figure { margin: 1.5rem 0; }
figure img { background: #fff; max-width: 100%; height: auto; }
figcaption, .note { color: var(--soft); font-size: .9rem; }
pre { overflow-x: auto; font-size: .8rem; }
@media print {
  :root { color-scheme: light; --ink: #000; --paper: #fff; --line: #999; --soft: #333; }
  body { max-width: none; padding: 0; font-size: 11px; }
  .table { overflow: visible; }
  table { font-size: .5rem; }
  th, td { padding: .1rem .2rem; }
  figure, tr { break-inside: avoid; }
  h2 { break-after: avoid; }
}
</style>
</head>
<body>
<h1>$title</h1>
<p class="headline">$headline</p>
$sections
$packed
<script>
// A click on a heading sorts its table, a second click the other way round; empty cells stay last.
document.addEventListener("click", event => {
  const heading = event.target.closest("th button")?.closest("th");
  if (!heading) return;
  const table = heading.closest("table"), column = heading.cellIndex;
  const rising = heading.getAttribute("aria-sort") !== "ascending";
  for (const other of table.querySelectorAll("th")) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", rising ? "ascending" : "descending");
  const value = row => row.cells[column].dataset.value ?? row.cells[column].textContent;
  const order = (a, b) => a === "" || b === "" ? (a === "") - (b === "")
    : (rising ? 1 : -1) * (isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b);
  const rows = [...table.tBodies[0].rows].sort((a, b) => order(value(a), value(b)));
  table.tBodies[0].append(...rows);
});
</script>
</body>
</html>
""")


class Listing(str):
    """Lines to copy, always in sight."""


@dataclass(frozen=True)
class Section:
    """A part of the page: a heading, a note below it, and a table, an SVG or PNG, lines to copy, or text to unfold."""

    heading: str
    note: str
    content: pd.DataFrame | bytes | Listing | str


def page(title: str, headline: str, sections: list[Section]) -> str:
    """The whole page. All text is escaped."""
    return PAGE.substitute(
        title=html.escape(title),
        headline=html.escape(headline),
        sections="\n".join(_section(section) for section in sections),
        packed=packed_section(),
    )


def _section(section: Section) -> str:
    return f"<section>\n<h2>{html.escape(section.heading)}</h2>\n{_body(section)}\n</section>"


def _body(section: Section) -> str:
    note, content = html.escape(section.note), section.content
    if isinstance(content, bytes):
        kind = "png" if content.startswith(b"\x89PNG") else "svg+xml"
        image = f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
        alternative = html.escape(section.heading)
        return f'<figure><img alt="{alternative}" src="{image}"><figcaption>{note}</figcaption></figure>'
    if isinstance(content, Listing):
        return f'<p class="note">{note}</p>\n<pre>{html.escape(content)}</pre>'
    if isinstance(content, str):
        return f"<details><summary>{note}</summary><pre>{html.escape(content)}</pre></details>"
    return f'<p class="note">{note}</p>\n<div class="table">{to_html(content)}</div>'
