"""The start page over the reports of all profiles."""

import re

import pandas as pd
import pytest
from report_runs import made_results

from benchmarks.faults.markup import Structure
from pipeline.base.errors import InputError
from pipeline.report.document import report_files
from pipeline.report.overview import start_page


@pytest.fixture(scope="module")
def files(settings, tmp_path_factory):
    return report_files(settings, made_results(tmp_path_factory.mktemp))


@pytest.fixture
def reports(files, tmp_path):
    """Two profiles; the second one has no claims, and one run without a spread, as reports of older versions."""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        for file in ("index.html", "settings.json", "comparison.csv", "claims.csv"):
            (tmp_path / name / file).write_bytes(files[file])
    (tmp_path / "second" / "claims.csv").unlink()
    path = tmp_path / "second" / "comparison.csv"
    table = pd.read_csv(path)
    table.drop(columns=["runs", *(name for name in table if name.endswith("_spread"))]).to_csv(path, index=False)
    (tmp_path / "without a page").mkdir()
    return tmp_path


def test_one_line_for_each_profile_leads_to_its_page(reports):
    text = start_page(reports).decode()
    assert re.findall(r'<th scope="row"><a href="([^"]+)">(.*?)</a>', text) == [
        ("first/index.html", "first, n = 2"),
        ("second/index.html", "second, one run"),
    ]
    assert "97.70 ± 0.28" in text
    assert ">97.70</td>" in text
    assert "<td>4 of 14</td>" in text
    assert "On mnist5k with test_resnet, 4 of 14 claims hold." in text


def test_claims_stand_side_by_side(reports, files):
    (reports / "second" / "claims.csv").write_bytes(
        files["claims.csv"].replace(b"within 0.3 points", b"within 1 point")
    )
    text = start_page(reports).decode()
    cells = {
        row[0]: row[1:] for row in (re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in text.split("<tr>")) if row
    }
    assert cells["No loss of top-1 at δ = 0.01, within 0.3 points"] == ["not decided (-0.3 points)", ""]
    assert cells["No loss of top-1 at δ = 0.01, within 1 point"] == ["", "not decided (-0.3 points)"]
    assert cells["Most centres come in the last rounds"] == ["holds (0.96 share)"] * 2


def test_without_any_report_it_says_nothing_wrong(tmp_path):
    assert "Look into a packed file" in start_page(tmp_path).decode()


def test_a_damaged_report_is_named(reports):
    (reports / "first" / "comparison.csv").write_bytes(b"\x00\x00\n")
    with pytest.raises(InputError, match=re.escape("first/comparison.csv: damaged")):
        start_page(reports)


def test_names_of_folders_are_text(reports, tmp_path):
    plain = Structure(start_page(reports).decode()).elements
    (reports / "first").rename(reports / "a&b\"c'<i>")
    assert Structure(start_page(reports).decode()).elements == plain
