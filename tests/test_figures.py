"""The figures of the report: what they draw, what they say, and that no label covers another."""

import re
from xml.etree import ElementTree

import matplotlib as mpl
import pandas as pd
import pytest
from clones import ROOT
from matplotlib.figure import Figure
from report_runs import FIXED, LAYOUT, SMALL, made_results

from pipeline.report import comparisons, weights
from pipeline.report.accuracy import accuracy_against_size, pareto_front
from pipeline.report.exploration import exploration
from pipeline.report.layers import layerwise, what_changed
from pipeline.report.rounds import rounds
from pipeline.report.style import BOTH, STYLE, WIDTH, Panel, inline, render, variables


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return made_results(tmp_path_factory.mktemp)


@pytest.fixture
def compared(results):
    runs = comparisons.compared_runs(results.baselines, [*results.fixed, *results.variants], results.quantised)
    return comparisons.quantisers(runs)


@pytest.fixture
def explored(results):
    return comparisons.explored_runs(results.explore_baselines, results.explored, SMALL)


@pytest.fixture
def layers(results):
    before = weights.read_parameters(results.baselines[0], LAYOUT)
    return weights.layerwise(LAYOUT, before, weights.read_weights(results.fixed[0], LAYOUT))


@pytest.mark.parametrize(("kept", "columns"), [("none", 2), ("euclidean distance", 1)])
def test_a_column_without_runs_is_left_out(explored, kept, columns):
    """Without ablations, or with nothing but them."""
    baseline = explored["method"] == comparisons.BASELINE
    picture = exploration(explored[(explored["change"] == kept) | baseline], 1000)
    assert len(axes_of(picture)) == 3 * columns
    assert bool(picture.says) == (kept == "none")


def axes_of(picture):
    """Title -> axes of every panel, drawn."""
    drawn = {}
    with mpl.rc_context(STYLE):
        for panel in picture.panels:
            figure = Figure(figsize=(WIDTH, panel.height))
            panel.draw(figure.add_subplot())
            figure.canvas.draw()
            drawn[panel.title] = figure.axes[0]
    return drawn


def legend_of(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_same_figure_same_bytes():
    drawn = [render(rounds(FIXED[0].iterations, FIXED[0].centres)) for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert drawn[0]["svg"].startswith(b"<?xml")
    assert drawn[0]["png"].startswith(b"\x89PNG")


def test_the_four_panels():
    picture = rounds(FIXED[0].iterations, FIXED[0].centres)
    panels = axes_of(picture)
    assert list(panels) == [
        "Weights fixed",
        "Centres as the budget shrinks",
        "Terms per fixed weight",
        "The 4 most used of 4 values",
    ]
    assert all(axes.get_xlabel() and axes.get_ylabel() for axes in list(panels.values())[:3])
    bars = [bar.get_height() for bar in panels["Weights fixed"].patches]
    assert bars == [0.5, 1.0, 0.5, 0.0]
    assert picture.says.startswith("4 centres after the first round, 100 after the last; 80.8% of the fixed weights")


def test_the_layers_up_to_here_are_drawn_as_union_and_as_sum(layers):
    picture = layerwise(layers)
    panel = axes_of(picture)["Values up to here"]
    assert legend_of(panel) == ["union", "sum, as in the paper"]
    assert [line.get_xdata().tolist() for line in panel.get_lines()] == [[3, 4, 4], [3, 4, 6]]
    assert picture.says.startswith("From input (top) to output, 3 parameters. conv.weight has the most values, 3;")


def test_layers_are_called_by_their_names(layers):
    for panel in axes_of(layerwise(layers)).values():
        assert [label.get_text() for label in panel.get_yticklabels()] == LAYOUT["parameter"].tolist()
    many = layerwise(pd.concat([layers] * 100, ignore_index=True))
    assert 60 < len(axes_of(many)["Entropy"].get_yticklabels()) <= 80  # of 300 parameters
    assert many.panels[0].height < 15  # inches


def test_long_names_leave_room_for_the_figure(layers, recwarn):
    name = "stages.3.blocks.1.spatial_aggregation.attention.norm{}.weight"
    panels = axes_of(layerwise(layers.assign(parameter=[name.format(i) for i in range(3)])))
    labels = [label.get_text() for label in panels["Entropy"].get_yticklabels()]
    assert labels == [f"stages.3.block…on.norm{i}.weight" for i in range(3)]
    assert panels["Entropy"].get_position().width > 0.4
    assert not recwarn.list


def test_what_changed_is_said(results, layers):
    before = weights.read_parameters(results.baselines[0], LAYOUT)
    after = weights.read_weights(results.fixed[0], LAYOUT)
    picture = what_changed(weights.distribution(before, after), weights.moved(before, after), layers)
    # Distances by hand, in test_report.py: 0, 0, 0.0625, 0.0714, 0.1667, 0.25, 1.
    assert re.fullmatch(
        r"Half of the weights moved by less than 0.07\d of their size. "
        r"conv.weight moved furthest, its median weight by 0.21.",
        picture.says,
    )


def test_pareto_front_by_hand():
    table = pd.DataFrame({"megabytes": [5.0, 1, 2, 3, 2], "top1": [99.0, 90, 95, 94, 96]})
    front = pareto_front(table)
    assert front["megabytes"].tolist() == [1, 2, 5]
    assert front["top1"].tolist() == [90, 96, 99]


def test_every_method_is_a_series_and_every_row_has_its_name(compared):
    panels = axes_of(accuracy_against_size(compared, 1000))
    assert list(panels) == ["What is lost", "What is left of 2.4 MB", "Both, and the front"]
    assert set(legend_of(panels["Both, and the front"])) == {"WFN", "WFN, one shot", "APoT", "halves"}
    names = [label.get_text() for label in panels["What is lost"].get_yticklabels()]
    assert names == [
        *("halves\n", "WFN\nδ 0.015, α 0.4", "WFN, one shot\nδ 0.01, α 0", "WFN\nδ 0.01, α 0.4"),
        *("WFN\nδ 0.0075, α 0.4", "APoT\n3 bit", "APoT\n4 bit"),
    ]
    left = panels["What is left of 2.4 MB"]
    assert [bar.get_width() for bar in left.patches] == sorted(compared["megabytes"][1:])
    assert [text.get_text() for text in left.texts][:2] == ["0.12", "0.40"]


def test_the_front_is_said_and_bold(compared):
    picture = accuracy_against_size(compared, 1000)
    assert picture.says == (
        "By their means, nothing is both smaller and as accurate as these, the front, in bold: "
        "halves: 0.12 MB, 96.00 %, one run · "
        "WFN, δ 0.015, α 0.4: 0.40 MB, 97.00 %, one run · WFN, δ 0.01, α 0.4: 0.45 ± 0.02 MB, 97.70 ± 0.28 % · "
        "WFN, δ 0.0075, α 0.4: 0.50 MB, 98.25 %, one run."
    )
    labels = axes_of(picture)["What is lost"].get_yticklabels()
    bold = [label.get_text().replace("\n", ", ") for label in labels if label.get_fontweight() == "bold"]
    assert bold == ["halves, ", "WFN, δ 0.015, α 0.4", "WFN, δ 0.01, α 0.4", "WFN, δ 0.0075, α 0.4"]


def test_nine_panels(explored):
    picture = exploration(explored, 1000)
    panels = axes_of(picture)
    assert len(panels) == 9
    assert sorted(legend_of(panels["Top-1 by α"])) == ["baseline", "δ 0.01", "δ 0.02"]
    first = panels["Top-1 by α"].containers[0].lines[0]
    assert first.get_xdata().tolist() == [0, 0.4]
    assert first.get_ydata().tolist() == pytest.approx([91.1, 91.5])
    assert panels["Top-1 by α"].get_ylim() == panels["Top-1 by δ"].get_ylim()
    assert picture.says == (
        "At δ = 0.02, α from 0 to 0.4: entropy -0.40 ± 0.00 bits. "
        "At α = 0.4, δ from 0.01 to 0.02: entropy not decided by 2 runs, top-1 +1.00 ± 0.00 points."
    )


@pytest.mark.parametrize(
    ("seeds", "images", "said"),
    [
        ((0, 1), 1000, "top-1 +1.00 ± 0.00 points."),
        ((0, 1), 500, "top-1 not decided by 2 runs."),  # two runs alike by chance: an interval of 1.8 points
        ((0,), 1000, "top-1 not decided by one run."),
    ],
)
def test_a_change_is_said_only_where_the_seeds_decide_it(explored, seeds, images, said):
    assert exploration(explored[explored["seed"].isin(seeds)], images).says.endswith(said)


def test_a_change_that_differs_by_seed_is_not_decided(explored):
    """+1 point with one seed, +3 with the other: an interval of 12.7 points."""
    one = (explored["seed"] == 1) & (explored["delta"] == 0.02)
    uneven = explored.assign(top1=explored["top1"] + 2.0 * one)
    assert exploration(uneven, 1000).says.endswith("top-1 not decided by 2 runs.")


def test_no_line_between_categories(explored):
    panels = axes_of(exploration(explored, 1000))
    assert {bars.lines[0].get_linestyle() for bars in panels["Top-1 by change"].containers} == {"None"}
    names = [label.get_text() for label in panels["Entropy by change"].get_xticklabels()]
    assert names == ["none", "batch-norm\nfloat", "euclidean\ndistance"]


def overlapping(axes):
    """Pairs of an axes' texts - labels of ticks, annotations - that cover each other."""
    texts = list(axes.texts)
    for axis in (axes.xaxis, axes.yaxis):
        low, high = sorted(axis.get_view_interval())
        ticks = zip(axis.get_majorticklocs(), axis.get_majorticklabels(), strict=True)
        texts += [label for place, label in ticks if low <= place <= high]
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts if text.get_text().strip()]
    return [
        (one, other)
        for i, (one, box) in enumerate(boxes)
        for other, another in boxes[:i]
        if box.shrunk(0.98, 0.9).overlaps(another.shrunk(0.98, 0.9))
    ]


def test_no_label_covers_another():
    """In the figures of the committed results."""
    folder = ROOT / "reports" / "mnist5k"
    read = {name: pd.read_csv(folder / f"{name}.csv") for name in ("quantisers", "explored-runs", "layers", "rounds")}
    for picture in (
        accuracy_against_size(read["quantisers"], 2000),
        exploration(read["explored-runs"], 2000),
        layerwise(read["layers"]),
        rounds(read["rounds"], pd.read_csv(folder / "values.csv")),
    ):
        for title, axes in axes_of(picture).items():
            assert overlapping(axes) == [], title


def test_a_figure_on_the_page_has_the_colours_of_both_themes():
    panel = rounds(FIXED[0].iterations, FIXED[0].centres).panels[0]
    text = inline(panel, "a")
    drawn = ElementTree.fromstring(text)
    assert not re.search(r"#[0-9a-f]{6}", text)
    used = set(re.findall(r"var\((--[a-z0-9]+)\)", text))
    assert {"--ink", "--soft", "--line", "--c0", "--c1"} <= used
    assert used <= set(re.findall(r"(--[a-z0-9]+): light-dark", variables()))
    assert [element.text for element in drawn.iter() if element.text == "Weights fixed"]
    assert {"width", "height"}.isdisjoint(drawn.attrib)


def test_figures_on_one_page_share_no_id():
    panel = rounds(FIXED[0].iterations, FIXED[0].centres).panels[0]
    found = []
    for name in ("a", "b"):
        drawn = ElementTree.fromstring(inline(panel, name))
        ids = {element.get("id") for element in drawn.iter() if element.get("id")}
        text = ElementTree.tostring(drawn, encoding="unicode")
        assert set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', text)) <= {(i, "") for i in ids} | {
            ("", i) for i in ids
        }
        found.append(ids)
    assert found[0].isdisjoint(found[1])


def lightness(colour):
    """Relative luminance, of WCAG 2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    low, high = sorted((lightness(one), lightness(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1])
def test_text_can_be_read_in_both_themes(theme):
    ink, soft, _, paper = [pair[theme] for pair in BOTH.items()][-4:]
    assert contrast(ink, paper) > 7
    assert contrast(soft, paper) > 4.5


def test_a_name_with_markup_is_text():
    hostile = "</text><script>1</script>#0072b2 url(#x) $x_{"
    text = inline(Panel(hostile, lambda axes: axes.set_xlabel(hostile)), "a")
    drawn = ElementTree.fromstring(text)
    assert [element.text for element in drawn.iter() if element.tag.endswith("}text")].count(hostile) == 2
    assert drawn.get("aria-label") == hostile
