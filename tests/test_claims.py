"""Verdicts on the paper's claims: by hand, and never where the spread hides them."""

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
from conftest import changed
from report_runs import BASELINES, FIXED, QUANTISED, SMALL, fixing, run, small_run

from pipeline.base.errors import InputError
from pipeline.base.rates import at_the_edge, candidates, chosen, own_rate, together
from pipeline.report import comparisons
from pipeline.report.claims import Tally, claims
from pipeline.report.evidence import (
    FAILS,
    HOLDS,
    UNDECIDED,
    UNMEASURED,
    Figure,
    figure_of,
    mean_over_deltas,
    verdict,
)
from pipeline.report.round_shares import late_centres, late_sums, most_used, simple

NONE = comparisons.explored_runs([], [], {})


def measured(*values):
    return Figure(pd.Series(values, dtype=float), "fix")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        # Mean 1.2, deviation 0.1: Student's 4.303 for two degrees of freedom, 0.1 / sqrt(3): an interval of 0.248.
        ((1.1, 1.2, 1.3), UNDECIDED),
        ((1.15, 1.25, 1.35), HOLDS),
        ((0.65, 0.75, 0.85), FAILS),
        ((0.7, 0.8, 0.9), UNDECIDED),
        ((1.0, 1.0), UNDECIDED),
        ((1.05, 1.05), HOLDS),
        ((9.0,), UNDECIDED),  # a single run has no spread
        ((), UNMEASURED),
    ],
)
def test_a_verdict_needs_more_than_the_interval(values, expected):
    assert verdict(measured(*values), 1.0) == expected


def test_the_interval_by_hand():
    """Student's t at 97.5 %, from a printed table: 12.706 for one degree of freedom, 4.303 for two."""
    assert measured(1, 2).interval == pytest.approx(12.706 * 0.5**0.5 / 2**0.5, rel=1e-4)
    assert measured(1, 2, 3).interval == pytest.approx(4.303 / 3**0.5, rel=1e-3)
    assert math.isnan(measured(1).interval)


def test_the_interval_holds_the_mean_as_often_as_it_says():
    values = np.random.default_rng(0).normal(5, 2, (2000, 3))
    holds = [abs(measured(*row).mean - 5) <= measured(*row).interval for row in values]
    assert 0.94 < np.mean(holds) < 0.96


def test_differences_and_ratios_are_taken_seed_by_seed():
    """Of the seeds that both have; what all runs of a seed have in common then makes no spread."""
    one, other = Figure(pd.Series({0: 10, 1: 14, 2: 9}), "a"), Figure(pd.Series({1: 7, 0: 5, 7: 1}), "b")
    assert one.less(other).values.to_dict() == {0: 5, 1: 7}
    assert one.over(other).values.to_dict() == {0: 2, 1: 2}
    assert one.over(other).spread == 0
    assert one.less(other).stage == "a, b"
    assert verdict(one.less(Figure(pd.Series({9: 1.0}))), 0) == UNMEASURED


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
    without_pull = [
        run(97.4, fixing(0.01, alpha=0.0, seed=seed), unique=160, entropy=4.6 + seed / 5) for seed in (0, 1)
    ]
    apot = [run(97.8, {"method": "apot", "bits": 3, "seed": seed}, unique=8700, entropy=5.0) for seed in (0, 1)]
    coarse = run(97.3, fixing(0.015, seed=1), unique=90, entropy=3.2)
    fine = run(98.55, fixing(0.0075, seed=1), unique=90, entropy=4.0)
    compared = comparisons.compared_runs(BASELINES, [*FIXED, *without_pull, coarse, fine], [*QUANTISED[:2], *apot])
    of_the_paper = changed(settings, model__name="resnet18.tv_in1k")
    table = claims(of_the_paper, compared, FIXED[:2], NONE, 1000).set_index("claim")

    def row(start):
        (found,) = [name for name in table.index if name.startswith(start)]
        return table.loc[found]

    assert row("No loss")["measured"] == pytest.approx(-0.3)
    assert row("No loss")["measured_spread"] == pytest.approx(0.08**0.5)
    assert row("No loss")["interval"] == pytest.approx(12.706 * 0.2, rel=1e-4)
    assert row("No loss")["verdict"] == UNDECIDED
    # Counted as the paper's tables count: of these runs nine values and 0.1 bits less than in the whole network.
    fewer, lower = row("56 times fewer values than APoT"), row("1.9 times less entropy than APoT")
    assert fewer["measured"] == pytest.approx((8691 / 131 + 8691 / 141) / 2)
    assert fewer["verdict"] == UNDECIDED  # 66 and 62: two runs do not tell
    assert lower["measured"] == pytest.approx((4.9 / 3.4 + 4.9 / 3.6) / 2)
    assert lower["verdict"] == UNDECIDED  # 1.44 and 1.36
    assert row("56 times fewer values, counted")["measured"] == pytest.approx((8700 / 140 + 8700 / 150) / 2)
    assert row("1.9 times less entropy, of the whole")["measured"] == pytest.approx((5 / 3.5 + 5 / 3.7) / 2)
    assert row("1.9 times less entropy, of the weights")["measured"] == pytest.approx((5.5 / 4 + 5.5 / 4.2) / 2)
    assert row("Fewer values than APoT, 3 bits, without batch")["measured"] == pytest.approx(
        (8695 / 135 + 8695 / 145) / 2
    )
    assert row("The same, without first")["measured"] == pytest.approx((8693 / 133 + 8693 / 143) / 2)
    assert row("Smaller than APoT")["measured"] == pytest.approx((5 / 3.5 + 5 / 3.7) / 2, rel=1e-6)
    assert row("α = 0.4 makes")["measured"] == pytest.approx((20 + 10) / 2)
    saved = row("α = 0.4 saves 1 bit")
    assert (saved["measured"], saved["least"], saved["unit"]) == (pytest.approx(1.1), 1, "bits")
    pull = row("α = 0.4 lowers")
    assert (pull["measured"], pull["measured_spread"], pull["runs"]) == (
        pytest.approx(1.1),
        pytest.approx(0, abs=1e-9),
        2,
    )
    assert pull["verdict"] == HOLDS
    assert row("δ = 0.015 is smaller")["measured"] == pytest.approx(0.1)
    assert row("δ = 0.015 costs")["verdict"] == HOLDS  # 1.25 points with either seed
    assert set(table.loc[table["made_by"] == "", "verdict"]) == {UNMEASURED}
    assert (table["made_by"] == "").sum() == 7  # there was no exploration
    # 4-bit APoT is larger, 3-bit APoT (0.625 MB) too: nothing is smaller than WFN's 0.45 MB.
    assert row("No smaller network")["verdict"] == UNMEASURED
    assert len(table) == len(table.index.unique())


def test_what_is_alike_by_chance_is_not_decided(settings):
    """Two runs whose top-1 differs by one of a thousand images say nothing of a difference between settings."""
    step = 100 / 1000
    alike = measured(0.1, 0.1)
    assert (verdict(alike, 0), verdict(alike._replace(step=step), 0)) == (HOLDS, UNDECIDED)
    assert alike._replace(step=step).interval == pytest.approx(12.706 * step / 2**0.5, rel=1e-4)
    coarse, fine = (
        [run(top1, fixing(delta, seed=seed)) for seed in (0, 1)] for top1, delta in ((98, 0.02), (98.1, 0.01))
    )
    compared = comparisons.compared_runs(BASELINES, [*fine, *coarse], [])
    for images, expected in ((1000, UNDECIDED), (100_000, HOLDS)):
        table = claims(settings, compared, fine, NONE, images).set_index("claim")
        assert table.loc["δ = 0.02 costs top-1 against 0.01", "verdict"] == expected


def test_the_pull_has_no_effect_where_there_is_none(settings):
    without = changed(settings, alpha=0.0)
    runs = [run(97.4, fixing(0.01, alpha=0.0, seed=seed)) for seed in (0, 1)]
    table = claims(without, comparisons.compared_runs(BASELINES, runs, []), runs, NONE, 1000)
    assert table.loc[table["claim"].str.startswith("α = 0"), "verdict"].tolist() == [UNMEASURED] * 3


def test_what_the_last_pass_has_changed():
    rounds = FIXED[0].iterations.assign(top1_before=[98.0, 97.9], top1_after=[97.8, 97.6])
    compared = comparisons.compared_runs(BASELINES, [dataclasses.replace(FIXED[0], iterations=rounds)], QUANTISED)
    assert compared.loc[compared["method"] == "WFN", "last_pass"].tolist() == [pytest.approx(-0.3)]
    assert compared.loc[compared["method"] != "WFN", "last_pass"].isna().all()


def test_the_figures_of_the_abstract_are_asked_of_its_network_alone(settings):
    """Another one has another share of batch-norm weights, which make nearly all of APoT's values."""
    apot = [run(97.8, {"method": "apot", "bits": 3, "seed": seed}, unique=300) for seed in (0, 1)]
    compared = comparisons.compared_runs(BASELINES, FIXED, apot)
    table = claims(changed(settings, model__name="cifar_resnet20"), compared, FIXED[:2], NONE, 1000)
    rows = table[table["claim"].str.contains("APoT") | table["claim"].str.contains("whole network")]
    assert set(rows["least"]) == {1}
    assert rows["claim"].str.match("Fewer|Less|The same|Smaller|α = ").all()


def test_a_network_fixed_at_once_has_no_last_rounds(settings):
    once = [run(97.5, fixing(0.01, rounds=1, seed=seed)) for seed in (0, 1)]
    once = [dataclasses.replace(each, iterations=each.iterations.iloc[-1:]) for each in once]
    compared = comparisons.compared_runs(BASELINES, once, QUANTISED[:2])
    table = claims(settings, compared, once, NONE, 1000).set_index("claim")
    assert set(compared["method"]) == {"Baseline", "WFN", "APoT"}
    assert table.loc["Most centres come after 99% are fixed", "verdict"] == UNMEASURED
    assert table.loc["Most sums of several powers come after 99% are fixed", "verdict"] == UNMEASURED


@pytest.mark.parametrize(
    ("counts", "answer", "others"),
    [
        ((3, 1, 2), "3 of 6 claims hold", "1 does not, 2 are not decided by these runs"),
        ((0, 0, 1), "Not decided", "0 do not, 1 is not decided by these runs"),
        ((0, 0, 0), "Not measured", "0 do not, 0 are not decided by these runs"),
        ((0, 2, 0), "0 of 2 claims hold", "2 do not, 0 are not decided by these runs"),
    ],
)
def test_the_tally_in_words(counts, answer, others):
    assert (Tally(*counts).answer, Tally(*counts).others) == (answer, others)


def test_exploring_is_a_mean_over_deltas_by_seed(settings):
    """The second seed has 0.2 points more whatever the setting, which is no spread of a difference."""
    small = [run(92.0, {"seed": seed}) for seed in (0, 1)]
    runs = [
        small_run(delta, 0.4, seed, distance=distance)
        for delta in (0.01, 0.02) for seed in (0, 1) for distance in ("relative", "euclidean")
    ]  # fmt: skip
    runs += [small_run(0.03, 0.4, seed, distance="euclidean") for seed in (0, 1)]  # beyond those of the main network
    wider = [run(97.0, fixing(0.02, seed=seed)) for seed in (0, 1)]
    compared = comparisons.compared_runs(BASELINES, [*FIXED, *wider], [])
    explored = comparisons.explored_runs(small, runs, SMALL)
    assert mean_over_deltas(explored, "top1", change="none", alpha=0.4).values.to_dict() == {
        0: pytest.approx(91.9),
        1: pytest.approx(92.1),
    }
    table = claims(settings, compared, FIXED[:2], explored, 1000)
    row = table[table["claim"].str.startswith("Relative") & table["claim"].str.endswith("top-1")].iloc[0]
    assert (row["measured"], row["runs"], row["verdict"]) == (pytest.approx(1), 2, HOLDS)
    one_delta_of_a_seed = comparisons.explored_runs(small, runs[:-4], SMALL)
    assert list(mean_over_deltas(one_delta_of_a_seed, "top1", change="none", alpha=0.4).values.index) == [0]


def test_settings_that_differ_otherwise_are_no_figure():
    """Runs of 9 and of 6 epochs are no repeats of each other."""
    shorter = fixing(0.01, seed=1) | {"finetune": {"epochs": 2}}
    compared = comparisons.compared_runs(BASELINES, [FIXED[0], run(97.2, shorter)], [])
    assert not len(figure_of(compared, "top1", "fix", method="WFN", delta=0.01).values)
    assert len(figure_of(compared, "top1", "fix", method="WFN", delta=0.01, epochs=6).values) == 1


def test_other_rounds_are_another_method(settings):
    """Of the same delta, alpha and seed, as many or not: neither a repeat of the main setting nor in its way."""
    other = fixing(0.01)
    other["fixing"] = other["fixing"] | {"fractions": [0.1, 0.2, 0.3, 1.0]}
    variants = [run(90.0, fixing(0.01, rounds=2)), run(91.0, other, unique=7)]
    compared = comparisons.compared_runs(BASELINES, [*FIXED, *variants], [])
    assert figure_of(compared, "top1", "fix", method="WFN", delta=0.01).values.tolist() == [97.5, 97.9]
    names = ["WFN, fractions 0.5, 1", "WFN, fractions 0.1, 0.2, 0.3, 1"]
    for table in (comparisons.quantisers(compared), comparisons.comparison(BASELINES, [*FIXED, *variants], "resnet18")):
        rows = table.set_index("method")
        assert rows.loc[names, "top1"].tolist() == [90.0, 91.0]
        assert rows.loc[names, "runs"].tolist() == [1, 1]
        assert comparisons.row_at(table, 0.01, 0.4)["runs"] == 2
    row = claims(settings, compared, FIXED[:2], NONE, 1000).iloc[0]
    assert (row["runs"], row["verdict"]) != (0, UNMEASURED)


def test_every_ablation_has_its_name(settings):
    """None is taken for the method as it is: a mean over both would be a figure of neither."""
    small = [run(92.0, {"seed": 0})]
    runs = [small_run(delta, 0.4) for delta in (0.01, 0.02)]
    more = [small_run(0.01, 0.4, clustering="incremental"), small_run(0.01, 0.4, fractions=[0.5, 1.0])]
    found = comparisons.explored_runs(small, [*runs, *more], SMALL)
    assert found["change"].tolist()[:4] == ["none", "none", "clustering incremental", "fractions 0.5, 1"]
    alone = comparisons.explored_runs(small, runs, SMALL)
    assert mean_over_deltas(found, "top1", change="none").mean == mean_over_deltas(alone, "top1", change="none").mean
    assert len(comparisons.explored(found)) == 5
    euclidean = comparisons.explored_runs(
        small, [small_run(0.01, 0.4, distance="euclidean")], SMALL | {"distance": "euclidean"}
    )
    assert euclidean["change"].tolist()[:1] == ["none"]


def test_a_smaller_network_that_is_better_takes_wfn_off_the_front(settings):
    better = [run(99.0 + seed / 4, {"method": "uniform", "bits": 2, "seed": seed}, entropy=2.0) for seed in (0, 1)]
    compared = comparisons.compared_runs(BASELINES, FIXED, better)
    table = claims(settings, compared, FIXED[:2], NONE, 1000).set_index("claim")
    row = table[table.index.str.startswith("No smaller")].iloc[0]
    assert row["measured"] == pytest.approx((-1.5 - 1.35) / 2)
    variants = [run(99.9, fixing(0.01, rounds=1, seed=seed), entropy=1.0) for seed in (0, 1)]
    compared = comparisons.compared_runs(BASELINES, [*FIXED, *variants], better)
    again = claims(settings, compared, FIXED[:2], NONE, 1000).set_index("claim")
    assert again[again.index.str.startswith("No smaller")].iloc[0]["measured"] == row["measured"]  # WFN is no other
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


def test_a_rate_at_an_end_of_the_grid_is_said(settings):
    rates = {
        "inside": (1, 3, 2),
        "least": (3, 2, 1),
        "largest": (1, 2, 3),
        "as good inside": (3, 3, 1),
        "none": (None,) * 3,
    }
    table = pd.DataFrame(
        [
            {"method": method, "rate": rate, "top1": top1}
            for method, found in rates.items()
            for rate, top1 in enumerate(found)
        ]
    )
    assert at_the_edge(chosen(table)) == ["least", "largest"]
    assert own_rate(settings, "wfn") == settings.finetune.lr
    assert own_rate(settings, "apot") == settings.quantise.rates["apot"]
    assert own_rate(settings, "unknown") is None


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
