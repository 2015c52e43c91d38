import dataclasses
import re
import shutil
from base64 import b64decode
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from clones import ROOT
from conftest import browser_page
from PIL import Image
from safetensors.numpy import save_file

from benchmarks.faults.markup import Structure
from pipeline.base.results import Run
from pipeline.report import figures, formats, tables, weights
from pipeline.report.document import DRAWN_ONLY, Results, report_files
from pipeline.report.page import Section, page
from pipeline.report.rounds import rounds
from pipeline.report.style import render

PUBLISHED = ROOT / "paper" / "published.yaml"


def run(top1, settings=None, *, unique=100, entropy=4.0, parameters=1_000_000, fixed=990_000):
    metrics = {
        **{"top1": top1, "top5": 99.9, "parameters": parameters, "unique": unique, "unique_no_bn": unique - 5},
        **{"unique_no_bn_first_last": unique - 7, "entropy": entropy, "entropy_nonzero": entropy + 0.1},
        **{"zero_share": 0.25, "unique_as_published": unique - 9, "entropy_as_published": entropy - 0.1},
        **{"packed_bytes": int(entropy * parameters / 8), "quantised_parameters": fixed, "index_entropy": entropy},
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


def fixing(delta, alpha=0.4, seed=0, rounds=4):
    """Settings of a fixed network that trains for three epochs in each of its rounds but the first."""
    fractions = [(t + 1) / rounds for t in range(rounds)]
    chosen = {"delta": delta, "alpha": alpha, "seed": seed, "model": {"name": "resnet18"}}
    return chosen | {
        "fixing": {"fractions": fractions, "fix_batch_norm": True, "distance": "relative"},
        "finetune": {"epochs": 3},
    }


FIXED = [
    run(97.5, fixing(0.01), unique=140, entropy=3.5),
    run(97.9, fixing(0.01, seed=1), unique=150, entropy=3.7),
    run(97.0, fixing(0.015), unique=90, entropy=3.2),
    run(97.5, fixing(0.01), unique=140, entropy=3.5),
    run(98.25, fixing(0.0075), unique=200, entropy=4.0),
]
ONE_SHOT = run(96.5, fixing(0.01, alpha=0.0, rounds=1), unique=130, entropy=3.4)
QUANTISED = [
    run(98.0, {"method": "apot", "bits": 4, "seed": 0}, unique=9000, entropy=6.0),
    run(97.0, {"method": "apot", "bits": 4, "seed": 1}, unique=9000, entropy=6.0),
    run(97.8, {"method": "apot", "bits": 3, "seed": 0}, unique=8000, entropy=5.0),
    run(96.0, {"method": "halves", "seed": 0}, unique=3, entropy=1.0),
]
LAYOUT = pd.DataFrame(
    {
        **{"parameter": ["conv.weight", "bn.weight", "fc.weight"], "weights": [4, 2, 2], "uses": [9, 9, 1]},
        "idle": [2, 0, 0],
        **{role: [False, role == "batch_norm", False] for role in ("batch_norm", "downsample", "first", "last")},
    }
)
BEFORE = {"conv.weight": [0.4, -0.6, 0.01, 0.5], "bn.weight": [0.8, 0.7], "fc.weight": [-0.5, 0.0]}
AFTER = {"conv.weight": [0.5, -0.5, 0.0, 0.5], "bn.weight": [0.75, 0.75], "fc.weight": [-0.5, 0.0]}
BASELINES = [
    dataclasses.replace(run(98.0, {"seed": seed}, unique=900_000, entropy=19.0), layers=LAYOUT) for seed in (0, 1)
]


def small_run(delta, alpha, seed=0, *, fix_batch_norm=True, distance="relative"):
    """A run of `explore`; the second seed has 0.2 points more, batch-norm in float as many values again."""
    chosen = {"fix_batch_norm": fix_batch_norm, "distance": distance, "fractions": [1.0]}
    top1 = 90 + 100 * delta + alpha + 0.2 * seed - (distance == "euclidean")
    return run(
        top1,
        {"delta": delta, "alpha": alpha, "seed": seed, "fixing": chosen},
        unique=100 if fix_batch_norm else 200,
        entropy=4.0 - alpha if distance == "relative" else 5.0,
    )


RATES = pd.DataFrame(
    {
        **{"method": ["wfn", "wfn", "apot"], "bits": [None, None, 3.0], "rate": [0.001, 0.01, 0.01]},
        **{"top1": [97.0, None, 98.0], "entropy": [3.0, None, 5.0], "unique": [100, None, 8000]},
        "chosen": [True, False, True],
    }
)
CARD = {
    "name": "mnist5k",
    "classes": 10,
    "train": {"images": 4000},
    "test": {"images": 1000},
    "stored_as": {"train": {"JPEG": 4000}, "test": {"JPEG": 999, "PNG": 1}},
}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Runs with weights: the folder of every fixed network holds AFTER, the baseline's BEFORE."""
    folders = []
    for parameters in (BEFORE, AFTER):
        folder = tmp_path_factory.mktemp("run")
        save_file(
            {name: np.array(values, np.float32) for name, values in parameters.items()}, folder / "model.safetensors"
        )
        folders.append(folder)
    baselines = [dataclasses.replace(each, folder=folders[0]) for each in BASELINES]
    fixed = [dataclasses.replace(each, folder=folders[1]) for each in FIXED]
    explored = [small_run(delta, alpha, seed) for delta in (0.01, 0.02) for alpha in (0.0, 0.4) for seed in (0, 1)]
    explored += [small_run(delta, 0.4, fix_batch_norm=False) for delta in (0.01, 0.02)]
    explored += [small_run(delta, 0.4, distance="euclidean") for delta in (0.01, 0.02)]
    small = [run(92.0, {"model": {"name": "test_resnet"}, "seed": seed}) for seed in (0, 1)]
    one_shot = dataclasses.replace(ONE_SHOT, folder=folders[1])
    made = {
        "pretrain": dataclasses.replace(
            baselines[0], settings={"model": {"name": "resnet18"}, "seed": 0}, images_per_second=500.0
        ),
        "fix": dataclasses.replace(fixed[0], images_per_second=400.0),
        "variants@one-shot": one_shot,
    }
    file, commit = Path("packed/mnist5k/fix.wfn"), "0123abcd"
    compared = {"variants": [one_shot], "quantised": QUANTISED, "explore_baselines": small, "explored": explored}
    return Results(baselines, fixed, made, CARD, file, commit, **compared, rates=RATES, published=PUBLISHED)


@pytest.fixture
def files(settings, results):
    return report_files(settings, results)


def test_throughput_is_compared_with_plain_training(results):
    table = tables.provenance(results.made)
    assert table["stage"].tolist() == ["pretrain", "fix", "variants@one-shot"]
    assert table["images_per_second"].tolist()[:2] == [500, 400]
    assert table["of_plain"].tolist()[:2] == [1, 0.8]
    assert table.iloc[2][["images_per_second", "of_plain"]].isna().all()


def test_the_page_says_how_the_images_came(files):
    text = files["index.html"].decode()
    assert "mnist5k: 4,000 training images and 1,000 test images in 10 classes, which came as JPEG; PNG" in text


def test_comparison_by_hand():
    table = tables.comparison(BASELINES, FIXED, "resnet18")
    assert table["method"].tolist() == ["Baseline", "WFN", "WFN", "WFN"]
    assert table["delta"].tolist()[1:] == [0.015, 0.01, 0.0075]
    assert table["runs"].tolist() == [2, 1, 2, 1]
    assert table["drop"].tolist() == pytest.approx([0, -1, -0.3, 0.25])
    assert table["megabytes"].tolist() == pytest.approx([2.375, 0.4, 0.45, 0.5])
    assert table["ratio"].tolist()[3] == 8
    assert table["unique"].tolist() == [900_000, 90, 145, 200]
    assert table["unique_spread"].iloc[2] == pytest.approx(50**0.5)


def test_a_change_is_counted_from_the_baseline_of_the_same_seed():
    """The second baseline has 0.5 points more: of the runs at 97.5 and 97.9 the second one then loses more."""
    better = dataclasses.replace(BASELINES[1], metrics=BASELINES[1].metrics | {"top1": 98.5})
    for table in (
        tables.comparison([BASELINES[0], better], FIXED, "resnet18"),
        tables.quantisers(tables.compared_runs([BASELINES[0], better], FIXED, [])),
    ):
        row = table[table["delta"] == 0.01].iloc[0]
        assert row["drop"] == pytest.approx((-0.5 - 0.6) / 2)
        assert row["drop_spread"] == pytest.approx(0.1 / 2**0.5)
        assert table.iloc[0][["top1", "drop"]].tolist() == pytest.approx([98.25, 0])


def test_methods_side_by_side_by_hand():
    """Runs that differ in their seed only are one row, a run that is there twice counts once."""
    table = tables.quantisers(tables.compared_runs(BASELINES, FIXED, QUANTISED))
    assert table["runs"].tolist() == [2, 2, 1, 1, 2, 1, 1]
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


def test_one_shot_is_a_method_of_its_own_beside_the_others_only(files):
    """It trains for no epoch; the tables of what WFN does know nothing of it."""
    names = ("comparison", "quantisers", "representation")
    found = {name: pd.read_csv(BytesIO(files[f"{name}.csv"])) for name in names}
    methods = found["quantisers"].set_index("method")
    one_shot = methods.loc["WFN, one shot"]
    assert (one_shot["runs"], one_shot["epochs"], one_shot["delta"], one_shot["alpha"]) == (1, 0, 0.01, 0)
    assert (one_shot["top1"], one_shot["unique"]) == (96.5, 130)
    assert methods.loc["WFN", "epochs"].tolist() == [9] * 3
    for name in ("comparison", "representation"):
        assert set(found[name]["method"]) <= {"Baseline", "WFN"}
        assert sorted(found[name]["delta"].dropna()) == [0.0075, 0.01, 0.015]
        assert set(found[name]["alpha"].dropna()) == {0.4}
    assert 96.5 not in found["comparison"]["top1"].tolist()


def test_a_variant_that_trains_is_a_row_of_wfn():
    variant = run(97.2, fixing(0.02, rounds=2))
    table = tables.quantisers(tables.compared_runs(BASELINES, [*FIXED, variant], QUANTISED))
    (row,) = table[table["delta"] == 0.02].to_dict("records")
    assert (row["method"], row["epochs"], row["top1"]) == ("WFN", 3, 97.2)


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
    at = same[same["setting"] == "delta 0.01"].set_index("method")
    assert at["unique"].to_dict() == {"WFN": 164, "WFN, unrounded": 164}
    assert at["entropy"].to_dict() == {"WFN": 3.01, "WFN, unrounded": 3.0216}
    assert same[same["method"] == "Full precision"]["top1"].tolist() == [69.758]
    assert same["source"].str.contains("not verified").sum() == 1
    assert not ((others["model"] == "resnet18") & (others["data"] == "imagenet")).any()
    nothing, everything = tables.published(PUBLISHED, "mnist5k", "resnet18")
    assert len(nothing) == 0
    assert len(everything) == len(same) + len(others)


def test_markdown_by_hand():
    frame = pd.DataFrame({"method": ["WFN", "Baseline"], "delta": [0.01, None], "unique": [1234, 5]})
    assert formats.to_markdown(frame) == (
        "| Method | δ | Unique values |\n| --- | --- | --- |\n| WFN | 0.01 | 1,234 |\n| Baseline |  | 5 |\n"
    )


def test_html_is_escaped():
    frame = pd.DataFrame({"method": ["<b>"], "top1": [1.0]})
    assert '<td>&lt;b&gt;</td><td class=number data-value="1.0">1.00</td>' in formats.to_html(frame)
    assert "<h2>&lt;i&gt;</h2>" in page("t", "h", [Section("<i>", "", frame)])


def test_latex_by_hand():
    frame = pd.DataFrame({"method": ["a_b & c", "Baseline"], "delta": [0.01, None], "zero_share": [0.25, 0.5]})
    assert formats.to_latex(frame).splitlines() == [
        r"\begin{tabular}{lrr}",
        r"\toprule",
        r"Method & $\delta$ & Zeros \\",
        r"\midrule",
        r"a\_b \& c & 0.01 & 25.0\% \\",
        r"Baseline &  & 50.0\% \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_every_column_of_every_table_has_a_heading(files):
    for name, content in files.items():
        if name.endswith(".csv") and name.removesuffix(".csv") not in DRAWN_ONLY:
            assert set(pd.read_csv(BytesIO(content)).columns) <= set(formats.COLUMNS), name


def test_beside_the_published_rows_by_hand():
    same, _ = tables.published(PUBLISHED, "imagenet", "resnet18.tv_in1k")
    both = tables.beside_published(tables.comparison(BASELINES, FIXED, "resnet18"), same).set_index("delta")
    assert sorted(both.index) == [0.0075, 0.01, 0.015]
    row = both.loc[0.01]
    assert (row["top1"], row["published_top1"]) == (pytest.approx(97.7), 69.7)
    assert row["difference"] == pytest.approx(28)
    assert (row["unique_as_published"], row["published_unique"]) == (136, 164)
    nothing, _ = tables.published(PUBLISHED, "mnist5k", "resnet18")
    assert len(tables.beside_published(tables.comparison(BASELINES, FIXED, "resnet18"), nothing)) == 0


def test_layer_by_layer_by_hand(results):
    before = weights.read_parameters(results.baselines[0], LAYOUT)
    after = weights.read_weights(results.fixed[0], LAYOUT)
    table = weights.layerwise(LAYOUT, before, after)
    assert after.values.tolist() == [-0.5, 0, 0.5, 0.75]
    assert table["unique"].tolist() == [3, 1, 2]
    assert table["cumulative_unique"].tolist() == [3, 4, 4]
    assert table["cumulative_sum"].tolist() == [3, 4, 6]
    assert table["entropy"].tolist() == [1.5, 0, 1]
    assert table["zero_share"].tolist() == [0.25, 0, 0.5]
    assert table["kind"].tolist() == ["weight", "batch-norm", "weight"]
    conv = np.median([0.25, 1 / 6, 1, 0])
    assert table["moved"].tolist() == pytest.approx([conv, np.mean([0.05 / 0.8, 0.05 / 0.7]), 0], abs=1e-6)


def test_representation_cost_by_hand(results):
    after = weights.read_weights(results.fixed[0], LAYOUT)
    centres = pd.DataFrame({"value": [0.5, -0.5, 0, 0.75], "share": [0.25] * 4, "term_count": [1, 1, 0, 2]})
    cost = weights.representation_cost(LAYOUT, after, centres)
    assert cost["cost_bits"] == pytest.approx(2)  # four values, equally long codes
    assert cost["cost"] == pytest.approx(2 / 32)
    uses = 4 * 9 + 2 * 9 + 2 * 1
    assert cost["cost_authors"] == pytest.approx((2 * 38 + 2 * 1) / (32 * uses))  # 0.75, of batch-norm only, once
    assert cost["shift_adds"] == pytest.approx((9 * 3 * 1 + 9 * 2 * 2 + 1 * 1) / uses)
    # Batch-norm that stays float: 32 bits for it, and no multiplication by shifts.
    cost = weights.representation_cost(LAYOUT, after, centres[centres["value"] != 0.75])
    assert cost["cost_bits"] == pytest.approx((2 * 38 + 32 * 18) / uses)
    assert cost["cost_authors"] == pytest.approx((2 * 38 + 32 * 1) / (32 * uses))
    assert cost["shift_adds"] == pytest.approx((9 * 3 + 1) / 38)


def test_a_value_that_batch_norm_has_too_is_used_once_as_the_authors_count(results):
    """0.5, -0.5 and 0 are in batch-norm here; the last two in the last layer as well."""
    layout = LAYOUT.assign(batch_norm=[True, False, False])
    after = weights.read_weights(results.fixed[0], LAYOUT)
    centres = pd.DataFrame({"value": [0.5, -0.5, 0, 0.75], "share": [0.5, 0.25, 0.125, 0.125], "term_count": 1})
    # Uses: 0.5 and -0.5, of the first layer; 0, of the first and the last; 0.75, of the second alone.
    cost = weights.representation_cost(layout, after, centres)
    assert cost["cost_bits"] == pytest.approx((18 * 1 + 10 * 2 + 10 * 3 + 18 * 3) / 56)
    assert cost["cost_authors"] == pytest.approx((1 * 1 + 1 * 2 + 1 * 3 + 18 * 3) / (32 * 56))


def test_the_layers_up_to_here_are_drawn_as_union_and_as_sum(results):
    before = weights.read_parameters(results.baselines[0], LAYOUT)
    drawn = figures.layerwise(weights.layerwise(LAYOUT, before, weights.read_weights(results.fixed[0], LAYOUT)))
    _, panel, _ = drawn.axes
    assert panel.get_ylabel() == "Unique up to here"
    names = [text.get_text() for text in panel.get_legend().get_texts()]
    assert names == ["distinct so far (union)", "sum of the layers' counts, as the paper draws it"]
    assert [line.get_ydata().tolist() for line in panel.get_lines()] == [[3, 4, 4], [3, 4, 6]]


def test_what_was_moved_by_hand(results):
    before = weights.read_parameters(results.baselines[0], LAYOUT)
    after = weights.read_weights(results.fixed[0], LAYOUT)
    moved = weights.moved(before, after)
    assert moved["share"].is_monotonic_increasing
    assert moved["share"].iloc[0] == pytest.approx(2 / 7)  # of the seven weights other than zero, two stayed
    assert moved["share"].iloc[-1] == 1
    distribution = weights.distribution(before, after)
    assert distribution["after"].sum() <= 1
    assert distribution["before"].sum() > 0.7


def test_pareto_front_by_hand():
    table = pd.DataFrame({"megabytes": [5.0, 1, 2, 3, 2], "top1": [99.0, 90, 95, 94, 96]})
    front = figures.pareto_front(table)
    assert front["megabytes"].tolist() == [1, 2, 5]
    assert front["top1"].tolist() == [90, 96, 99]


def test_every_method_is_a_series(results):
    runs = tables.compared_runs(results.baselines, [*results.fixed, *results.variants], results.quantised)
    table = tables.quantisers(runs)
    legend = figures.accuracy_against_size(table, 1000).axes[0].get_legend()
    labels = {text.get_text() for text in legend.get_texts()}
    assert labels == {"Baseline, 2.4 MB as float32", "Pareto front", "WFN", "WFN, one shot", "APoT", "halves"}


def test_runs_with_another_alpha_are_a_series_of_their_own():
    without = run(97.4, fixing(0.01, alpha=0.0), entropy=4.4)
    table = tables.quantisers(tables.compared_runs(BASELINES, [*FIXED, without], QUANTISED))
    legend = figures.accuracy_against_size(table, 1000).axes[0].get_legend()
    labels = {text.get_text() for text in legend.get_texts()}
    assert {"WFN, α = 0", "WFN, α = 0.4", "APoT"} <= labels


def test_nine_panels(results):
    figure = figures.exploration(
        tables.explored(tables.explored_runs(results.explore_baselines, results.explored)), 1000
    )
    assert len(figure.axes) == 9
    legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert sorted(legend) == ["Baseline", "δ = 0.01", "δ = 0.02"]
    first = figure.axes[0].containers[0].lines[0]
    assert first.get_xdata().tolist() == [0, 0.4]
    assert first.get_ydata().tolist() == pytest.approx([91.1, 91.5])


def test_no_line_between_categories(results):
    figure = figures.exploration(
        tables.explored(tables.explored_runs(results.explore_baselines, results.explored)), 1000
    )
    changes = figure.axes[2]
    assert {bars.lines[0].get_linestyle() for bars in changes.containers} == {"None"}
    names = [label.get_text() for label in figure.axes[8].get_xticklabels()]
    assert names == ["none", "batch-norm\nfloat", "euclidean\ndistance"]


def test_exploration_by_hand(results):
    table = tables.explored(tables.explored_runs(results.explore_baselines, results.explored))
    assert table["runs"].tolist() == [2] * 4 + [1] * 4 + [2]
    row = table.iloc[1]
    assert (row["delta"], row["alpha"], row["change"]) == (0.01, 0.4, "none")
    assert row["top1"] == pytest.approx(91.5)
    assert row["top1_spread"] == pytest.approx(0.02**0.5)
    assert table["change"].tolist()[4:] == ["batch-norm float"] * 2 + ["euclidean distance"] * 2 + [np.nan]


@pytest.mark.parametrize("kind", ["svg", "png"])
def test_same_figure_same_bytes(kind):
    drawn = [render(rounds(FIXED[0].iterations, FIXED[0].centres), kind) for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert drawn[0].startswith({"svg": b"<?xml", "png": b"\x89PNG"}[kind])


def test_the_four_panels():
    panels = rounds(FIXED[0].iterations, FIXED[0].centres).axes
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
    names = ("accuracy-size.svg", "rounds.svg", "exploration.svg", "what-changed.svg", "layers.svg")
    assert len(found.images) == len(names)
    for image, name in zip(found.images, names, strict=True):
        head, _, data = image["src"].partition(",")
        assert head == "data:image/svg+xml;base64"
        assert b64decode(data) == files[name]
    assert not re.search(r'(?:src|href)="(?!data:)', text)
    assert {"Published elsewhere", "How it was made", "WFN against other methods"} <= set(found.headings)
    assert "made at commit 0123abcd" in text
    assert "dvc repro pretrain" in text
    said = "145 values, 3.60 bits each, 8.9 × smaller, -0.30 ± 0.28 points (top-1 97.7 %). Means over 2 runs. Of the"
    assert f"1.0 million weights → {said}" in text
    assert "wfn.load(&quot;packed/mnist5k/fix.wfn&quot;)" in text
    assert "packed/mnist5k/fix.wfn: 0.44 MB (437,500 bytes) for 4.00 MB as float32" in text
    assert "25% of the weights meet nothing but padding" in text


def with_names(settings, results, name):
    """The report where data set, networks, methods, formats and files are called so."""
    named = settings.model_copy(
        update={
            "data": settings.data.model_copy(update={"name": name}),
            "model": settings.model.model_copy(update={"name": name}),
        }
    )
    card = {**results.card, "name": name, "stored_as": {"train": {name: 4000}, "test": {name: 1000}}}
    quantised = [dataclasses.replace(each, settings={**each.settings, "method": name}) for each in results.quantised]
    return report_files(
        named,
        dataclasses.replace(results, card=card, file=Path(name), quantised=quantised, commit=name),
    )


def test_names_with_markup_are_text(settings, results, tmp_path):
    """In the page, its pictures and their descriptions; and a browser runs nothing of them."""
    hostile = """</style></script><script>window.harmed=1</script><img src=x onerror="window.harmed=1">&'$x_{$%"""
    files, plain = with_names(settings, results, hostile), with_names(settings, results, "a name")
    page, same = (Structure(each["index.html"].decode()) for each in (files, plain))
    assert page.elements == same.elements
    assert sum(hostile in text for text in page.texts) >= 6
    for name in files:
        if name.endswith(".svg"):
            drawn = ElementTree.fromstring(files[name])
            assert not [
                each for each in drawn.iter() if each.tag.rpartition("}")[2] in ("script", "img", "foreignObject")
            ]
            assert not [key for each in drawn.iter() for key in each.attrib if key.lower().startswith("on")]
    (tmp_path / "index.html").write_bytes(files["index.html"])
    with browser_page(tmp_path / "profile") as opened:
        requests = []
        opened.on("request", lambda request: requests.append(request.url))
        opened.goto((tmp_path / "index.html").as_uri())
        opened.locator("th button").first.click()
        assert opened.evaluate("window.harmed") is None
        assert [url for url in requests if not url.startswith("data:")] == [(tmp_path / "index.html").as_uri()]


def test_the_page_shows_what_the_network_sees(settings, results, tmp_path):
    """Baselines of older versions have no sheet (`results`), and then there is no such section."""
    shutil.copytree(results.baselines[0].folder, tmp_path, dirs_exist_ok=True)
    Image.new("L", (3, 2)).save(tmp_path / "examples.png")
    own = [dataclasses.replace(results.baselines[0], folder=tmp_path), results.baselines[1]]
    found = Page(report_files(settings, dataclasses.replace(results, baselines=own))["index.html"].decode())
    assert "What the network sees" in found.headings
    head, _, content = found.images[-1]["src"].partition(",")
    assert head == "data:image/png;base64"
    assert b64decode(content) == (tmp_path / "examples.png").read_bytes()
    older = Page(report_files(settings, results)["index.html"].decode())
    assert "What the network sees" not in older.headings


def test_without_exploring(settings, results):
    files = report_files(settings, dataclasses.replace(results, explored=[]))
    assert not any(name.startswith("exploration") for name in files)


PICTURES = ("accuracy-size", "rounds", "exploration", "what-changed", "layers")
TABLES = (
    *("claims", "comparison", "quantisers", "fates", "representation", "exploration", "layers", "rates"),
    *("provenance", "published-elsewhere"),
)


def test_the_report_is_complete_and_repeatable(files, settings, results):
    pictures = {f"{name}.{kind}" for name in PICTURES for kind in ("svg", "png")}
    texts = {f"{name}.{kind}" for name in TABLES for kind in ("csv", "md", "tex")}
    texts |= {f"{name}.csv" for name in DRAWN_ONLY}
    assert files.keys() == pictures | texts | {"index.html", "metrics.json", "settings.json"}
    assert report_files(settings, results) == files


def test_every_method_of_the_default_profile_has_three_runs():
    table = pd.read_csv(ROOT / "reports" / "mnist5k" / "quantisers.csv").set_index("method")
    assert {"WFN", "APoT", "Uniform (LSQ)", "k-means per layer"} <= set(table.index)
    assert (table.drop(["Baseline", "WFN, one shot"])["runs"] >= 3).all()  # these two have nothing random
    assert table.loc["APoT", "bits"] == 3
