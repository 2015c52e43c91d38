"""The part of the page that looks into a packed file, in the reader's own browser."""

from __future__ import annotations

from pathlib import Path

STYLE = """
#packed .drop { border: 2px dashed var(--line); border-radius: .5rem; padding: 1.5rem; max-width: 60rem; }
#packed .drop.over { border-color: currentColor; }
#packed .wrong { font-weight: bold; }
#packed p, #packed dd, #packed td { overflow-wrap: anywhere; }
#packed dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; }
#packed dt { color: var(--soft); }
#packed dd { margin: 0; }
#packed svg { max-width: 100%; height: auto; font-size: .75rem; fill: var(--ink); }
#packed rect { fill: #0072b2; }
@media print { #packed { display: none; } }
"""

SECTION = """<section id="packed">
<style>{style}</style>
<h2>Look into a packed file</h2>
<p class="note">A .wfn file holds a whole network of few values, entropy-coded. It is decoded here, in this browser:
nothing is uploaded.</p>
<p class="drop"><label>Drop a file here, or choose one: <input type="file" accept=".wfn"></label></p>
<p class="note" role="status"></p>
<div class="contents"></div>
<script>
{script}
</script>
</section>"""


def packed_section() -> str:
    """Its HTML, style and script inside."""
    here = Path(__file__).parent
    script = "\n".join((here / name).read_text(encoding="utf-8") for name in ("packed.js", "packed_view.js"))
    return SECTION.format(style=STYLE, script=script)
