"""The start page over the reports of all profiles."""

import re
import shutil

import pandas as pd
import pytest
from clones import ROOT

from benchmarks.faults.markup import Structure
from pipeline.base.errors import InputError
from pipeline.report.overview import start_page

REPORT = ROOT / "reports" / "mnist5k"


@pytest.fixture
def reports(tmp_path):
    """Two profiles; the second one has no claims, and one run without a spread, as reports of older versions."""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        for file in ("index.html", "settings.json", "comparison.csv", "claims.csv"):
            shutil.copy(REPORT / file, tmp_path / name)
    (tmp_path / "second" / "claims.csv").unlink()
    path = tmp_path / "second" / "comparison.csv"
    table = pd.read_csv(path)
    table.drop(columns=["runs", *(name for name in table if name.endswith("_spread"))]).to_csv(path, index=False)
    (tmp_path / "without a page").mkdir()
    return tmp_path


def test_one_line_for_each_profile_leads_to_its_page(reports):
    table, claims = (pd.read_csv(REPORT / f"{name}.csv") for name in ("comparison", "claims"))
    main = table[(table["delta"] == 0.01) & (table["alpha"] == 0.4)].iloc[0]
    theirs = claims.loc[claims["source"] != "not the paper's", "verdict"]
    held, measured = (theirs == "holds").sum(), (theirs != "not measured here").sum()
    text = start_page(reports).decode()
    assert re.findall(r'<th scope="row"><a href="([^"]+)">(.*?)</a>', text) == [
        ("first/index.html", f"first, n = {main['runs']}"),
        ("second/index.html", "second, one run"),
    ]
    assert text.count(f"{main['top1']:.2f} ± {main['top1_spread']:.2f}</td>") == 1
    assert text.count(f">{main['top1']:.2f}</td>") == 1
    undecided = (theirs == "not decided").sum()
    assert f"<td>{held} of {measured}, {undecided} not decided</td>" in text
    assert f"resnet18 on mnist5k: {held} of {measured} claims hold, " in text


def test_a_report_without_a_page_leads_to_its_table(reports):
    (reports / "second" / "index.html").unlink()
    links = re.findall(r'<th scope="row"><a href="([^"]+)">', start_page(reports).decode())
    assert links == ["first/index.html", "second/comparison.md"]


def test_claims_stand_side_by_side(reports):
    content = (REPORT / "claims.csv").read_text()
    (reports / "second" / "claims.csv").write_text(content.replace("within 0.3 points", "within 1 point"))
    claims = pd.read_csv(REPORT / "claims.csv").set_index("claim")
    first = claims.iloc[0]
    said = f"{first['verdict']} ({first['measured']:.3g} {first['unit']})"
    text = start_page(reports).decode()
    cells = {
        row[0]: row[1:] for row in (re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in text.split("<tr>")) if row
    }
    assert cells["No loss of top-1 at δ = 0.01, within 0.3 points"] == [said, ""]
    assert cells["No loss of top-1 at δ = 0.01, within 1 point"] == ["", said]
    same, other = cells["Most centres come after 99% are fixed"]
    assert same == other == f"holds ({claims.loc['Most centres come after 99% are fixed', 'measured']:.3g} share)"


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
