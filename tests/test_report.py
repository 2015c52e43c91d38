import re
from base64 import b64decode
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from conftest import ROOT

from pipeline.report import figures, tables
from pipeline.report.document import report_files
from pipeline.report.page import Section, page
from pipeline.results import Run

PUBLISHED = ROOT / "paper" / "published.yaml"


def run(top1, settings=None, *, unique=100, entropy=4.0, parameters=1_000_000, fixed=990_000):
    metrics = {
        **{"top1": top1, "top5": 99.9, "parameters": parameters, "unique": unique, "unique_no_bn": unique - 5},
        **{"unique_no_bn_first_last": unique - 7, "entropy": entropy, "entropy_nonzero": entropy + 0.1},
        **{"zero_share": 0.25, "unique_as_published": unique - 9, "entropy_as_published": entropy - 0.1},
        **{"coded_bytes": int(entropy * parameters / 8), "quantised_parameters": fixed, "index_entropy": entropy},
        **{"float_bytes": 4 * parameters, "lzw_bytes": int(entropy * parameters / 7)},
    }
    iterations = pd.DataFrame(
        {
            **{"round": [0, 1], "fraction": [0.5, 1.0], "fixed": [0.5, 1.0], "delta_t": [0.02, 0.01]},
            **{"centres": [4, 100], "order_0": [0.3, 0.25], "order_1": [0.7, 0.45], "order_2": [0.0, 0.3]},
        }
    )
    centres = pd.DataFrame(
        {
            **{"value": [0.0, 0.5, -0.5, 0.75], "terms": ["0", "2^-1", "-2^-1", "2^0 - 2^-2"]},
            **{"term_count": [0, 1, 1, 2], "count": [500_000, 200_000, 100_000, 190_000]},
            "share": [0.505, 0.202, 0.101, 0.192],
        }
    )
    return Run(Path("run"), metrics, settings or {}, iterations, centres, seconds=60.0)


BASELINE = run(98.0, unique=900_000, entropy=19.0)
FIXED = [
    run(97.5, {"delta": 0.01, "alpha": 0.4, "seed": 0}, unique=140, entropy=3.5),
    run(97.9, {"delta": 0.01, "alpha": 0.4, "seed": 1}, unique=150, entropy=3.7),
    run(97.0, {"delta": 0.015, "alpha": 0.4, "seed": 0}, unique=90, entropy=3.2),
    run(97.5, {"delta": 0.01, "alpha": 0.4, "seed": 0}, unique=140, entropy=3.5),
    run(98.25, {"delta": 0.0075, "alpha": 0.4, "seed": 0}, unique=200, entropy=4.0),
]
QUANTISED = [
    run(98.0, {"method": "apot", "bits": 4, "seed": 0}, unique=9000, entropy=6.0),
    run(97.0, {"method": "apot", "bits": 4, "seed": 1}, unique=9000, entropy=6.0),
    run(97.8, {"method": "apot", "bits": 3, "seed": 0}, unique=8000, entropy=5.0),
    run(96.0, {"method": "halves", "seed": 0}, unique=3, entropy=1.0),
]


@pytest.fixture
def files(settings):
    return report_files(settings, BASELINE, FIXED, QUANTISED, PUBLISHED)


def test_comparison_by_hand():
    table = tables.comparison(BASELINE, FIXED)
    assert table["method"].tolist() == ["Baseline", "WFN", "WFN", "WFN"]
    assert table["delta"].tolist()[1:] == [0.015, 0.01, 0.0075]
    assert table["drop"].tolist() == [0, -1, -0.5, 0.25]
    assert table["megabytes"].tolist() == [2.375, 0.4, 0.4375, 0.5]
    assert table["ratio"].tolist()[3] == 8
    assert table["unique"].tolist() == [900_000, 90, 140, 200]


def test_methods_side_by_side_by_hand():
    """Runs that differ in their seed only are one row, a run that is there twice counts once."""
    table = tables.quantisers(BASELINE, FIXED, QUANTISED, fixing_epochs=9)
    assert table["runs"].tolist() == [1, 2, 1, 1, 2, 1, 1]
    assert table["method"].tolist() == ["Baseline", *["WFN"] * 3, *["APoT"] * 2, "halves"]
    wfn = table.iloc[1]
    assert wfn["top1"] == pytest.approx(97.7)
    assert wfn["top1_spread"] == pytest.approx(0.08**0.5)
    assert wfn["drop"] == pytest.approx(-0.3)
    assert wfn["unique"] == 145
    assert wfn["epochs"] == 9
    apot = table.iloc[4]
    assert apot["top1_spread"] == pytest.approx(0.5**0.5)
    assert apot["epochs"] == 2  # rows of its iterations.csv
    alone = table.iloc[5]
    assert pd.isna(alone["top1_spread"])
    assert alone["lzw_megabytes"] == pytest.approx(5 / 7, abs=1e-6)
    assert alone["ratio"] == pytest.approx(32 / 5)


def test_fates_add_up():
    table = tables.fates(FIXED[0])
    expected = ["zero", "one power of two", "sum of 2 powers of two", "not fixed"]
    assert table["fate"].tolist() == expected
    assert table["weights"].tolist() == [500_000, 300_000, 190_000, 10_000]
    assert table["share"].sum() == pytest.approx(1)


def test_published_rows_stand_beside_the_same_data_and_model_only():
    same, others = tables.published(PUBLISHED, "imagenet", "resnet18.tv_in1k")
    assert set(same["model"]) == {"resnet18"}
    assert set(same["data"]) == {"imagenet"}
    assert same[same["setting"] == "delta 0.01"]["unique"].tolist() == [164]
    assert same["source"].str.contains("not verified").sum() == 1
    assert not ((others["model"] == "resnet18") & (others["data"] == "imagenet")).any()
    nothing, everything = tables.published(PUBLISHED, "mnist5k", "resnet18")
    assert len(nothing) == 0
    assert len(everything) == len(same) + len(others)


def test_markdown_by_hand():
    frame = pd.DataFrame({"method": ["WFN", "Baseline"], "delta": [0.01, None], "unique": [1234, 5]})
    assert tables.to_markdown(frame) == (
        "| Method | δ | Unique values |\n| --- | --- | --- |\n| WFN | 0.01 | 1,234 |\n| Baseline |  | 5 |\n"
    )


def test_html_is_escaped():
    frame = pd.DataFrame({"method": ["<b>"], "top1": [1.0]})
    assert "<td>&lt;b&gt;</td><td class=number>1.00</td>" in tables.to_html(frame)
    assert "<h2>&lt;i&gt;</h2>" in page("t", "h", [Section("<i>", "", frame)])


@pytest.mark.parametrize("kind", ["svg", "png"])
def test_same_figure_same_bytes(kind):
    def drawn():
        table = tables.comparison(BASELINE, FIXED)
        return [
            figures.render(figures.accuracy_against_size(table), kind),
            figures.render(figures.rounds(FIXED[0].iterations, FIXED[0].centres), kind),
        ]

    assert drawn() == drawn()
    magic = {"svg": b"<?xml", "png": b"\x89PNG"}[kind]
    assert all(picture.startswith(magic) for picture in drawn())


def test_the_four_panels():
    panels = figures.rounds(FIXED[0].iterations, FIXED[0].centres).axes
    titles = [axes.get_title() for axes in panels if axes.get_title()]
    assert titles == [
        "Weights fixed",
        "Centres as the budget shrinks",
        "Terms per fixed weight",
        "The 4 most used of 4 values",
    ]
    assert all(axes.get_xlabel() and axes.get_ylabel() for axes in panels[:3])
    bars = [bar.get_height() for bar in panels[0].patches]
    assert bars == [0.5, 1.0, 0.5, 0.0]


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.images, self.headings, self.cells, self._open = [], [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self._open = tag
        if tag == "img":
            self.images.append(dict(attributes))

    def handle_data(self, data):
        if self._open in ("h1", "h2"):
            self.headings.append(data.strip())
        elif self._open == "td":
            self.cells.append(data)

    def handle_endtag(self, tag):
        self._open = ""


def test_the_page_holds_everything_itself(files):
    text = files["index.html"].decode()
    found = Page(text)
    assert [image["alt"] for image in found.images] == ["Accuracy against size", "Over the fixing rounds"]
    for image, name in zip(found.images, ("accuracy-size.svg", "rounds.svg"), strict=True):
        head, _, data = image["src"].partition(",")
        assert head == "data:image/svg+xml;base64"
        assert b64decode(data) == files[name]
    assert not re.search(r'(?:src|href)="(?!data:)', text)
    assert "Published elsewhere" in found.headings
    assert "1.0 million weights → 140 values, 3.50 bits each, 9.1 × smaller, -0.5 points (top-1 97.5 %)" in text


def test_the_report_is_complete_and_repeatable(files, settings):
    assert sorted(files) == sorted(
        [
            *("accuracy-size.png", "accuracy-size.svg", "rounds.png", "rounds.svg", "comparison.csv", "comparison.md"),
            *(
                "fates.csv",
                "fates.md",
                "quantisers.csv",
                "quantisers.md",
                "index.html",
                "metrics.json",
                "settings.json",
            ),
        ]
    )
    assert report_files(settings, BASELINE, FIXED, QUANTISED, PUBLISHED) == files
