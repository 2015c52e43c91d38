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
from report_runs import BASELINES, FIXED, LAYOUT, PUBLISHED, QUANTISED, SMALL, fixing, made_results, run

from benchmarks.faults.markup import Structure
from pipeline.base.results import run_key
from pipeline.report import comparisons, formats, published_tables, weights
from pipeline.report.columns import COLUMNS, SPREAD
from pipeline.report.document import NUMBERS_ONLY, page_alone, report_files
from pipeline.report.formats import Table
from pipeline.report.headline import headline
from pipeline.report.page import Chapter, Section, page
from pipeline.report.provenance import provenance


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return made_results(tmp_path_factory.mktemp)


@pytest.fixture(scope="module")
def files(settings, results):
    return report_files(settings, results)


def test_throughput_is_compared_with_plain_training(results):
    table = provenance(results.made)
    assert table["stage"].tolist() == ["pretrain", "fix", "variants@one-shot"]
    assert table["images_per_second"].tolist()[:2] == [500, 400]
    assert table["of_plain"].tolist()[:2] == [1, 0.8]
    assert table.iloc[2][["images_per_second", "of_plain"]].isna().all()


def test_the_machine_stands_beside_a_result(results, files):
    table = provenance(results.made).set_index("stage")
    assert table.loc["fix", ["host", "threads"]].tolist() == ["far", 2]
    assert table.loc["pretrain", ["host", "threads"]].isna().all()
    assert ">far</td>" in files["index.html"].decode()


def test_the_page_says_how_the_images_came(files):
    text = files["index.html"].decode()
    assert "mnist5k: 4,000 training images and 1,000 test images in 10 classes, which came as JPEG; PNG" in text


def test_comparison_by_hand():
    table = comparisons.comparison(BASELINES, FIXED, "resnet18")
    assert table["method"].tolist() == ["Baseline", "WFN", "WFN", "WFN"]
    assert table["delta"].tolist()[1:] == [0.015, 0.01, 0.0075]
    assert table["runs"].tolist() == [2, 1, 2, 1]
    assert table["drop"].tolist() == pytest.approx([0, -1, -0.3, 0.25])
    assert table["megabytes"].tolist() == pytest.approx([2.375, 0.4, 0.45, 0.5])
    assert table["ratio"].tolist()[3] == 8
    assert table["unique"].tolist() == [900_000, 90, 145, 200]
    assert table["unique_spread"].iloc[2] == pytest.approx(50**0.5)
    for name in table.columns[list(table.columns).index("runs") + 1 :: 2]:
        assert table[f"{name}_spread"].notna().tolist() == [True, False, True, False]


def test_a_change_is_counted_from_the_baseline_of_the_same_seed():
    """The second baseline has 0.5 points more: of the runs at 97.5 and 97.9 the second one then loses more."""
    better = dataclasses.replace(BASELINES[1], metrics=BASELINES[1].metrics | {"top1": 98.5})
    for table in (
        comparisons.comparison([BASELINES[0], better], FIXED, "resnet18"),
        comparisons.quantisers(comparisons.compared_runs([BASELINES[0], better], FIXED, [])),
    ):
        row = table[table["delta"] == 0.01].iloc[0]
        assert row["drop"] == pytest.approx((-0.5 - 0.6) / 2)
        assert row["drop_spread"] == pytest.approx(0.1 / 2**0.5)
        assert table.iloc[0][["top1", "drop"]].tolist() == pytest.approx([98.25, 0])


def test_methods_side_by_side_by_hand():
    """Runs that differ in their seed only are one row, a run that is there twice counts once."""
    table = comparisons.quantisers(comparisons.compared_runs(BASELINES, FIXED, QUANTISED))
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
    assert wfn["entropy_as_published_spread"] == pytest.approx(0.02**0.5)
    assert wfn["lzw_megabytes_spread"] == pytest.approx(0.02**0.5 / 7, abs=1e-6)


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
    variant = run(97.2, fixing(0.02))
    table = comparisons.quantisers(comparisons.compared_runs(BASELINES, [*FIXED, variant], QUANTISED))
    (row,) = table[table["delta"] == 0.02].to_dict("records")
    assert (row["method"], row["epochs"], row["top1"]) == ("WFN", 9, 97.2)


def test_fates_add_up():
    table = weights.fates(FIXED[0])
    expected = ["zero", "one power of two", "sum of 2 powers of two", "not fixed"]
    assert table["fate"].tolist() == expected
    assert table["weights"].tolist() == [500_000, 300_000, 190_000, 10_000]
    assert table["share"].sum() == pytest.approx(1)


def test_published_rows_stand_beside_the_same_data_and_model_only():
    same, others = published_tables.published_rows(PUBLISHED, "imagenet", "resnet18.tv_in1k")
    assert set(same["model"]) == {"resnet18"}
    assert set(same["data"]) == {"imagenet"}
    at = same[same["setting"] == "delta 0.01"].set_index("method")
    assert at["unique"].to_dict() == {"WFN": 164, "WFN, unrounded": 164}
    assert at["entropy"].to_dict() == {"WFN": 3.01, "WFN, unrounded": 3.0216}
    assert same[same["method"] == "Full precision"]["top1"].tolist() == [69.758]
    assert same["source"].str.contains("not verified").sum() == 1
    assert not ((others["model"] == "resnet18") & (others["data"] == "imagenet")).any()
    nothing, everything = published_tables.published_rows(PUBLISHED, "mnist5k", "resnet18")
    assert len(nothing) == 0
    assert len(everything) == len(same) + len(others)


def test_markdown_by_hand():
    frame = pd.DataFrame({"method": ["WFN", "Baseline"], "delta": [0.01, None], "unique": [1234, 5]})
    assert formats.to_markdown(frame) == (
        "| Method | δ | Unique values |\n| --- | --- | --- |\n| WFN | 0.01 | 1,234 |\n| Baseline |  | 5 |\n"
    )


def test_html_is_escaped():
    table = Table(pd.DataFrame({"method": ["<b>"], "top1": [1.0]}))
    row = '<th scope="row">&lt;b&gt;</th><td class="number" data-value="1.0">1.00</td>'
    assert row in formats.to_html(table)
    assert "<h3>&lt;i&gt;</h3>" in page("t", "h", chapters=[Chapter("", [Section("<i>", "", table)])])


def test_a_spread_stands_beside_its_figure():
    frame = pd.DataFrame({"method": ["WFN", "APoT"], "drop": [-0.004, 0.5], "drop_spread": [0.1, None]})
    assert formats.to_markdown(frame) == (
        "| Method | Change, points |\n| --- | --- |\n| WFN | +0.00 ± 0.10 |\n| APoT | +0.50 |\n"
    )


def test_a_published_figure_has_the_digits_of_its_source():
    frame = pd.DataFrame({"published_entropy": [3.01, 4.1508, 3.553, 4.0, "unknown", None]}, dtype=object)
    assert formats.texts(frame)["published_entropy"].tolist() == ["3.01", "4.1508", "3.5530", "4.00", "unknown", ""]


def test_a_figure_of_many_digits_is_a_whole_number():
    frame = pd.DataFrame(
        {"measured": [0.05274, 48.78, 1737.17, -12345.6], "measured_spread": [0.006, 0.64, 104.08, 2e6]}
    )
    assert formats.texts(frame)["measured"].tolist() == [
        "0.0527 ± 0.006",
        "48.8 ± 0.64",
        "1,737 ± 104",
        "-12,346 ± 2,000,000",
    ]


def test_published_tables_have_all_digits(files):
    text = files["published-elsewhere.md"].decode()
    assert "| WFN | imagenet | resnet18 | delta 0.01 | 69.70 | 3.01 | 164 |" in text
    assert "| WFN, unrounded | imagenet | resnet18 | delta 0.01 |  | 3.0216 | 164 |" in text


def strong(table):
    """Column -> the cells of it that are marked, of a table of numbers."""
    rows = re.findall(r"<tr>(.*?)</tr>", formats.to_html(table))[1:]
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in rows]
    return [[cell for cell in column if cell.startswith("<strong>")] for column in zip(*cells, strict=True)]


def test_the_best_of_a_column_is_marked_and_what_its_spread_does_not_tell_from_it():
    frame = pd.DataFrame(
        {
            "method": ["Baseline", "WFN", "APoT", "LSQ"],
            "top1": [99.0, 98.0, 98.3, 98.1],
            "top1_spread": [None, 0.5, 0.25, None],
            "megabytes": [44.0, 3.0, 3.5, 4.0],
            "delta": [None, 0.01, None, None],
        }
    )
    found = strong(Table(frame, compared=frame["method"] != "Baseline"))
    assert found == [
        [],
        ["<strong>98.00 ± 0.50</strong>", "<strong>98.30 ± 0.25</strong>", "<strong>98.10</strong>"],
        ["<strong>3.00</strong>"],
        [],
    ]
    assert strong(Table(frame)) == [[]] * 4
    equal = frame.assign(top1=98.0, top1_spread=None)
    assert strong(Table(equal, compared=equal["method"] != "Baseline"))[1] == []


def test_a_switch_shows_the_other_columns():
    frame = pd.DataFrame({"delta": [0.01], "method": ["WFN"], "top1": [98.0]})
    text = page("", "", chapters=[Chapter("", [Section("", "", Table(frame, first=("method", "top1")))])])
    headings = re.findall(r'<th( class="[^"]*")? scope="col">.*?>([^<]+)</button>', text)
    assert headings == [("", "Method"), (' class="number"', "Top-1, %"), (' class="number rest"', "δ")]
    assert text.count('<input type="checkbox">') == 1
    assert "checkbox" not in page("", "", chapters=[Chapter("", [Section("", "", Table(frame))])])


def test_sources_are_named_once():
    table = pd.DataFrame({"method": ["a", "b", "c"], "source": ["x", "y", "x"]})
    numbered, sources = published_tables.footnoted(table)
    assert numbered["source"].tolist() == [1, 2, 1]
    assert sources == ["x", "y"]


def test_every_row_says_its_setting_and_its_runs():
    table = comparisons.quantisers(comparisons.compared_runs(BASELINES, FIXED, QUANTISED))
    assert comparisons.named(table)["method"].tolist() == [
        *("Baseline, n = 2", "WFN, δ 0.01, n = 2", "WFN, δ 0.015, one run", "WFN, δ 0.0075, one run"),
        *("APoT, 4 bit, n = 2", "APoT, 3 bit, one run", "halves, one run"),
    ]


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
        if name.endswith(".csv") and name.removesuffix(".csv") not in NUMBERS_ONLY:
            columns = {each.removesuffix(SPREAD) for each in pd.read_csv(BytesIO(content)).columns}
            assert columns <= set(COLUMNS), name


def test_beside_the_published_rows_by_hand():
    same, _ = published_tables.published_rows(PUBLISHED, "imagenet", "resnet18.tv_in1k")
    measured = comparisons.quantisers(comparisons.compared_runs(BASELINES, FIXED, QUANTISED))
    both = published_tables.beside_published(measured, same)
    ours = both[both["method"] == "WFN"].set_index("delta")
    assert sorted(ours.index) == [0.0075, 0.01, 0.015]
    row = ours.loc[0.01]
    assert (row["top1"], row["published_top1"]) == (pytest.approx(97.7), 69.7)
    assert row["published_drop"] == pytest.approx(69.7 - 69.758)
    assert row["difference"] == pytest.approx(row["drop"] - (69.7 - 69.758))
    assert (row["unique_as_published"], row["published_unique"]) == (136, 164)
    assert row["unique_as_published_spread"] == pytest.approx(50**0.5)
    assert row["top1_spread"] == pytest.approx(0.08**0.5)
    apot = both[both["method"] == "APoT"].set_index("bits")
    assert apot.loc[4, "published_drop"] == pytest.approx(70.74 - 69.758)
    nothing, _ = published_tables.published_rows(PUBLISHED, "mnist5k", "resnet18")
    assert len(published_tables.beside_published(measured, nothing)) == 0


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


def test_exploration_by_hand(results):
    table = comparisons.explored(comparisons.explored_runs(results.explore_baselines, results.explored, SMALL))
    assert table["runs"].tolist() == [2] * 4 + [1] * 4 + [2]
    row = table.iloc[1]
    assert (row["delta"], row["alpha"], row["change"]) == (0.01, 0.4, "none")
    assert row["top1"] == pytest.approx(91.5)
    assert row["top1_spread"] == pytest.approx(0.02**0.5)
    assert table["change"].tolist()[4:] == ["batch-norm float"] * 2 + ["euclidean distance"] * 2 + [np.nan]


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.images, self.figures, self.headings, self.links, self._open = [], [], [], {}, ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self._open, found = tag, dict(attributes)
        if tag == "img":
            self.images.append(found)
        elif tag == "svg":
            self.figures.append(found)
        elif tag == "a":
            self.links[found.get("download", found["href"])] = found["href"]

    def handle_data(self, data):
        if self._open in ("h1", "h2", "h3"):
            self.headings.append(data.strip())

    def handle_endtag(self, tag):
        self._open = ""


def test_the_page_holds_everything_itself(files):
    text = files["index.html"].decode()
    found = Page(text)
    assert len(found.figures) == 3 + 9 + 4 + 3 + 3
    assert all(figure["role"] == "img" and figure["aria-label"] for figure in found.figures)
    assert not re.search(r'(?:src|href)="(?!data:|#)', text)
    assert {"Published elsewhere", "How it was made", "WFN against other methods"} <= set(found.headings)
    assert "made at commit 0123abcd" in text
    assert "dvc repro pretrain" in text
    assert "wfn.load(&quot;packed/mnist5k/fix.wfn&quot;)" in text
    assert "packed/mnist5k/fix.wfn: 0.44 MB (437,500 bytes) for 4.00 MB as float32" in text
    assert "25% of the weights meet nothing but padding" in text


def test_the_first_screen_answers_what_a_reader_comes_with(files):
    header = files["index.html"].decode().partition("<nav")[0]
    answers = re.findall(r'<dt><a href="#([^"]+)">(.*?)</a></dt><dd class="answer">(.*?)</dd><dd>(.*?)</dd>', header)
    assert answers == [
        (
            "what-is-lost-what-is-saved",
            "What did it cost?",
            "-0.30 ± 0.28 points",
            "Top-1: 98.00 % before, 97.70 % after; means over 2 runs.",
        ),
        (
            "what-is-lost-what-is-saved",
            "What did it save?",
            "2.4 → 0.45 MB",
            "1.0 million weights, 145 values, 3.60 bits a weight.",
        ),
        (
            "what-the-paper-claims-what-was-measured-here",
            "Does the paper hold?",
            "4 of 17 claims hold",
            "0 do not, 13 are not decided by these runs.",
        ),
        (
            "use-the-network",
            "How do I use it?",
            "One line of Python",
            "<code>wfn.load(&quot;packed/mnist5k/fix.wfn&quot;)</code>",
        ),
    ]
    decides = "which does not decide whether it loses more than 0.3"
    assert f"changes its top-1 by -0.30 ± 0.28 points over 2 runs, {decides}. All" in header


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("holds", "keeps its accuracy, within 0.3 points"),
        ("does not hold", "loses more than 0.3 points of its accuracy"),
        ("not measured here", "changes its top-1 by -0.30 ± 0.28 points over 2 runs"),
    ],
)
def test_the_verdict_in_words_is_that_of_the_claim(settings, results, verdict, words):
    comparison = comparisons.comparison(results.baselines, results.trained, "resnet18")
    claims = pd.DataFrame({"claim": ["No loss of top-1 at δ = 0.01"], "verdict": [verdict]})
    assert words in headline(settings, results, {"comparison": comparison, "claims": claims})


def test_the_numbers_of_every_figure_and_table_are_one_click_away(files):
    links = Page(files["index.html"].decode()).links
    for name in ("claims", "quantisers", "exploration", "rounds", "values", "distribution", "moved", "layers", "rates"):
        head, _, data = links[f"{name}.csv"].partition(",")
        assert head == "data:text/csv;base64"
        assert b64decode(data) == files[f"{name}.csv"]


def test_a_page_leads_to_the_start_page_where_there_is_one(files):
    assert "../index.html" in Page(page("", "", up="../index.html")).links
    assert "../index.html" not in Page(files["index.html"].decode()).links


def test_every_run_has_the_key_that_mlflow_knows_it_by(files, results):
    table = pd.read_csv(BytesIO(files["provenance.csv"])).set_index("stage")
    assert table["key"].to_dict() == {stage: run_key(stage, run) for stage, run in results.made.items()}


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


@pytest.mark.slow
def test_names_with_markup_are_text(settings, results, files, tmp_path):
    """In the page, its pictures and their descriptions; and a browser runs nothing of them."""
    hostile = """</style></script><script>window.harmed=1</script><img src=x onerror="window.harmed=1">&'$x_{$%"""
    plain, files = files, with_names(settings, results, hostile)
    texts = [each["index.html"].decode() for each in (files, plain)]
    page, same = (Structure(re.sub(r"<svg.*?</svg>", "", text, flags=re.DOTALL)) for text in texts)
    assert page.elements == same.elements
    drawn = [Structure("".join(re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL))).elements for text in texts]
    assert {element[0] for element in drawn[0]} <= {element[0] for element in drawn[1]}  # figures are laid out anew
    assert not [key for element in drawn[0] for key in element[1:] if key.startswith("on")]
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


@pytest.mark.slow
def test_the_page_shows_what_the_network_sees(settings, results, files, tmp_path):
    """Baselines of older versions have no sheet (`results`), and then there is no such section."""
    shutil.copytree(results.baselines[0].folder, tmp_path, dirs_exist_ok=True)
    Image.new("L", (3, 2)).save(tmp_path / "examples.png")
    own = [dataclasses.replace(results.baselines[0], folder=tmp_path), results.baselines[1]]
    found = Page(page_alone(settings, dataclasses.replace(results, baselines=own))["index.html"].decode())
    assert "What the network sees" in found.headings
    head, _, content = found.images[-1]["src"].partition(",")
    assert head == "data:image/png;base64"
    assert b64decode(content) == (tmp_path / "examples.png").read_bytes()
    assert "What the network sees" not in Page(files["index.html"].decode()).headings


@pytest.mark.slow
def test_without_exploring(settings, results):
    files = report_files(settings, dataclasses.replace(results, explored=[]))
    assert not any(name.startswith("exploration") for name in files)


PICTURES = ("accuracy-size", "rounds", "exploration", "what-changed", "layers")
TABLES = (
    *("claims", "comparison", "quantisers", "fates", "representation", "exploration", "layers", "rates"),
    *("provenance", "published-elsewhere"),
)


@pytest.mark.slow
def test_the_report_is_complete_and_repeatable(files, settings, results):
    pictures = {f"{name}.{kind}" for name in PICTURES for kind in ("svg", "png")}
    texts = {f"{name}.{kind}" for name in TABLES for kind in ("csv", "md", "tex")}
    texts |= {f"{name}.csv" for name in NUMBERS_ONLY}
    assert files.keys() == pictures | texts | {"index.html", "metrics.json", "settings.json"}
    assert report_files(settings, results) == files


def test_every_method_of_the_default_profile_has_three_runs():
    table = pd.read_csv(ROOT / "reports" / "mnist5k" / "quantisers.csv").set_index("method")
    assert {"WFN", "APoT", "Uniform (LSQ)", "k-means per layer"} <= set(table.index)
    assert (table["runs"] >= 3).all()
    assert table.loc["APoT", "bits"] == 3


def test_the_default_run_reaches_what_is_asked_of_it():
    """By means over its seeds."""
    folder = ROOT / "reports" / "mnist5k"
    table = pd.read_csv(folder / "quantisers.csv")
    main, unpulled = (comparisons.row_at(table, 0.01, alpha) for alpha in (0.4, 0.0))
    assert main["entropy"] <= 2.6
    assert main["unique"] <= 250
    assert main["drop"] >= -0.3
    assert unpulled["entropy"] - main["entropy"] >= 1
    measured = pd.read_csv(folder / "claims.csv").set_index("claim")["measured"]
    assert measured["Most weights are zero or one power of two"] >= 0.9
