"""Verdicts on the paper's claims: by hand, and never where the spread hides them."""

import dataclasses
import math

import pandas as pd
import pytest
from test_report import BASELINE, FIXED, QUANTISED, fixing, run

from pipeline.base.errors import InputError
from pipeline.base.rates import candidates, chosen, together
from pipeline.report import tables
from pipeline.report.claims import (
    FAILS,
    HOLDS,
    UNDECIDED,
    UNMEASURED,
    Figure,
    claims,
    late_centres,
    late_sums,
    most_used,
    simple,
    verdict,
)

NONE = pd.DataFrame(columns=["method", "change", "delta", "alpha", "runs"])


@pytest.mark.parametrize(
    ("mean", "spread", "expected"),
    [
        (1.2, 0.1, HOLDS),
        (0.8, 0.1, FAILS),
        (1.05, 0.1, UNDECIDED),
        (0.95, 0.1, UNDECIDED),
        (1.0, 0.1, UNDECIDED),
        (1.0, math.nan, UNDECIDED),
        (1.05, math.nan, HOLDS),
        (0.95, math.nan, FAILS),
        (math.nan, math.nan, UNMEASURED),
    ],
)
def test_a_verdict_needs_more_than_the_spread(mean, spread, expected):
    assert verdict(Figure(mean, spread), 1.0) == expected


def test_spreads_of_a_difference_and_a_ratio():
    one, other = Figure(10, 0.3, "a"), Figure(5, 0.4, "b")
    assert one.less(other) == (5, pytest.approx(0.5), "a, b")
    ratio = one.over(other)
    assert ratio.mean == 2
    assert ratio.spread == pytest.approx(2 * math.hypot(0.03, 0.08))
    assert one.less(Figure(1, math.nan)).spread == pytest.approx(0.3)


def test_what_is_counted_of_a_run():
    """Its two rounds: 4 of 100 centres at the half, no sums of powers then and 0.3 of the weights in the end."""
    one = FIXED[0]
    assert late_centres(one) == pytest.approx(0.96)
    assert late_sums(one) == 1
    assert simple(one) == pytest.approx(0.505 + 0.202 + 0.101)
    assert most_used(one) == 1
    no_sums = one.iterations.assign(order_1=1 - one.iterations["order_0"], order_2=0.0)
    assert math.isnan(late_sums(dataclasses.replace(one, iterations=no_sums)))


def test_claims_by_hand(settings):
    without_pull = run(97.4, fixing(0.01, alpha=0.0), unique=160, entropy=4.6)
    apot = [run(97.8, {"method": "apot", "bits": 3, "seed": seed}, unique=8700, entropy=5.0) for seed in (0, 1)]
    compared = tables.quantisers(BASELINE, [*FIXED, without_pull], [*QUANTISED[:2], *apot])
    table = claims(settings, compared, FIXED[:2], NONE).set_index("claim")

    def row(start):
        (found,) = [name for name in table.index if name.startswith(start)]
        return table.loc[found]

    assert row("No loss")["measured"] == pytest.approx(-0.3)
    assert row("No loss")["verdict"] == UNDECIDED  # 0.28 points of spread
    assert row("56 times")["measured"] == pytest.approx(8700 / 145)
    assert row("56 times")["verdict"] == HOLDS
    assert row("1.9 times")["measured"] == pytest.approx(5 / 3.6)
    assert row("1.9 times")["verdict"] == FAILS
    pull = row("α = 0.4")
    assert (pull["measured"], pull["measured_spread"]) == (pytest.approx(1.0), pytest.approx(0.02**0.5))
    assert pull["verdict"] == HOLDS
    assert row("δ = 0.015 is smaller")["measured"] == pytest.approx(0.1)
    assert row("δ = 0.015 costs")["verdict"] == HOLDS
    assert set(table.loc[table["made_by"] == "", "verdict"]) == {UNMEASURED}
    assert (table["made_by"] == "").sum() == 4  # there was no exploration
    # 4-bit APoT is larger, 3-bit APoT (0.625 MB) too: nothing is smaller than WFN's 0.45 MB.
    front = row("No smaller network")
    assert (front["measured"], front["unit"], front["verdict"]) == (pytest.approx(0.625 - 0.45), "MB", HOLDS)
    assert len(table) == len(table.index.unique())


def test_a_smaller_network_that_is_better_takes_wfn_off_the_front(settings):
    better = run(99.0, {"method": "uniform", "bits": 2, "seed": 0}, entropy=2.0)
    compared = tables.quantisers(BASELINE, FIXED, [better])
    table = claims(settings, compared, FIXED[:2], NONE).set_index("claim")
    row = table[table.index.str.startswith("No smaller")].iloc[0]
    assert row["measured"] == pytest.approx(-1.3)
    assert row["verdict"] == FAILS


def test_the_rule_of_the_choice_by_hand():
    """The highest top-1, of equal ones the smaller rate; a method without any result has none."""
    table = pd.DataFrame(
        {
            "method": ["a"] * 4 + ["b"],
            "rate": [0.1, 0.2, 0.3, 0.4, 0.1],
            "top1": [96.0, 96.0, 94.0, None, None],
        }
    )
    assert chosen(table)["chosen"].tolist() == [True, False, False, False, False]


def test_a_method_chosen_again_takes_the_place_of_its_rows():
    table = pd.DataFrame({"method": ["a", "a", "b"], "rate": [0.1, 0.2, 0.1], "top1": [1.0, 2, 3], "chosen": True})
    again = pd.DataFrame({"method": ["a"], "rate": [0.3], "top1": [4.0]})
    found = together(table, again)
    assert found[["method", "rate"]].to_numpy().tolist() == [["a", 0.3], ["b", 0.1]]
    assert chosen(found)["chosen"].all()


def test_a_method_that_is_not_compared_is_one_line(settings):
    with pytest.raises(InputError, match="--method lsq: .*allowed: wfn, apot"):
        candidates(settings, ["lsq"])
    assert {each.method for each in candidates(settings, ["apot"])} == {"apot"}


def test_every_method_has_the_same_grid(settings):
    found = candidates(settings)
    methods = {quantiser.method for quantiser in settings.baselines.quantisers.values()}
    assert {each.method for each in found} == {"wfn", *methods}
    assert len({each.name for each in found}) == len(found)
    for method in methods:
        mine = [each for each in found if each.method == method]
        assert [each.rate for each in mine] == list(settings.rates.grid)
        assert [each.settings.quantise.rates[method] for each in mine] == list(settings.rates.grid)
    assert [each.settings.finetune.lr for each in found if each.method == "wfn"] == list(settings.rates.grid)
