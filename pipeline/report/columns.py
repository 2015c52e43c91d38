"""The columns of all tables: heading, number format, meaning, and which end is the better one."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple


class Column(NamedTuple):
    """How a column is shown and explained. best: of the compared networks' figures, the highest or the lowest.

    exact: the form of a figure that `form` would round.
    """

    heading: str
    form: str
    meaning: str
    best: Literal["max", "min", ""] = ""
    exact: str = ""

    def text(self, value: Any) -> str:
        """A figure of this column."""
        rounded = self.form.format(value)
        if not isinstance(value, str) and "e+" in rounded:  # more digits before the point than the form shows
            return f"{value:,.0f}"
        return self.exact.format(value) if self.exact and float(rounded) != value else rounded


SPREAD = "_spread"  # a column called so holds the standard deviation of the one without
ACTIVATIONS = "activation_bits"
COLUMNS = {
    "method": Column("Method", "{}", "How the weights were made few: WFN is the paper's."),
    "setting": Column("Setting", "{}", "As the source names it."),
    "model": Column("Model", "{}", "Network, by its name in timm where it has one."),
    "data": Column("Data", "{}", "Data set."),
    "bits": Column("Bits", "{:.0f}", "Of a weight's code; with APoT and LSQ the first and the last layer have 8."),
    "delta": Column("δ", "{:g}", "Mean relative distance that a weight may be moved, in the last round."),
    "alpha": Column("α", "{:g}", "Strength of the regulariser that pulls weights to the centres."),
    ACTIVATIONS: Column("Activations, bits", "{:.0f}", "Empty: float."),
    "runs": Column("Runs", "{:.0f}", "With different seeds: means are over them, ± is their standard deviation."),
    "top1": Column("Top-1, %", "{:.2f}", "Share of the test images whose likeliest class is the right one.", "max"),
    "drop": Column("Change, points", "{:+z.2f}", "Top-1 less that of the float baseline of the same seed.", "max"),
    "top5": Column("Top-5, %", "{:.2f}", "Share of the test images whose class is among the five likeliest.", "max"),
    "entropy": Column("Entropy, bits", "{:.2f}", "Of the values of all weights, zeros included, per weight.", "min"),
    "entropy_nonzero": Column("Entropy of non-zeros, bits", "{:.2f}", "The same without the zeros.", "min"),
    "entropy_acting": Column(
        "Entropy of acting weights, bits", "{:.2f}", "The same without those that meet nothing but padding.", "min"
    ),
    "unique": Column("Unique values", "{:,.0f}", "Different values in the whole network, as multiplied out.", "min"),
    "unique_no_bn": Column("Unique, no BN", "{:,.0f}", "The same without batch-norm.", "min"),
    "unique_no_bn_first_last": Column(
        "Unique, no BN, first, last", "{:,.0f}", "The same without the first and the last layer too.", "min"
    ),
    "entropy_as_published": Column(
        "Entropy as published, bits", "{:.2f}", "Without zeros and down-sampling layers, as the paper counts.", "min"
    ),
    "unique_as_published": Column("Unique as published", "{:,.0f}", "Counted in the same way.", "min"),
    "zero_share": Column("Zeros", "{:.1%}", "Share of the weights that are zero."),
    "index_entropy": Column(
        "Index entropy, bits", "{:.2f}", "Of the indices into each codebook, with the scales factored out.", "min"
    ),
    "lzw_megabytes": Column("LZW, MB", "{:.2f}", "The whole network, its indices by LZW, the paper's coder.", "min"),
    "megabytes": Column(
        "Packed file, MB", "{:.2f}", "Bytes of the .wfn file with the whole network; the baseline's as float32.", "min"
    ),
    "ratio": Column("Smaller than float32, times", "{:.1f}", "Bytes as float32 over those of the packed file.", "max"),
    "weights": Column("Weights", "{:,.0f}", "How many."),
    "share": Column("Share", "{:.4%}", "Of all the network's parameters."),
    "epochs": Column("Epochs", "{:.0f}", "Of training after the baseline's."),
    "seconds": Column("Wall time, s", "{:.0f}", "Of the work itself, without start-up."),
    "images_per_second": Column("Images per second", "{:,.0f}", "Of training."),
    "of_plain": Column("Of plain training's", "{:.2f}", "Images per second over those of the baseline's training."),
    "host": Column("Machine", "{}", "By its name; the last bits of a result differ from one kind to another."),
    "device": Column("Processor or GPU", "{}", "That trained, and the widest instructions of a processor in use."),
    "torch": Column("PyTorch", "{}", "Its version."),
    "threads": Column("Threads", "{:.0f}", "Of the processor."),
    "source": Column("Source", "{}", "Where it is claimed or published."),
    "fate": Column("What became of it", "{}", "Of a parameter."),
    "published_top1": Column("Published top-1, %", "{:.2f}", "By the source."),
    "published_drop": Column("Published change, points", "{:+z.2f}", "Top-1 less that of the published float network."),
    "difference": Column("Difference, points", "{:+z.2f}", "Measured change less the published."),
    "top1_difference": Column("Difference, points", "{:+z.2f}", "Top-1 measured here less the published."),
    "published_entropy": Column("Published entropy, bits", "{:.2f}", "By the source.", exact="{:.4f}"),
    "published_unique": Column("Published unique", "{:,.0f}", "By the source."),
    "parameter": Column("Parameter", "{}", "By its name in the network."),
    "kind": Column("Kind", "{}", "Weight, bias or batch-norm."),
    "cumulative_unique": Column("Unique up to here", "{:,.0f}", "Different values in this and all earlier layers."),
    "cumulative_sum": Column("Sum of the layers' counts up to here", "{:,.0f}", "As the paper's figure counts."),
    "moved": Column("Moved, median relative distance", "{:.3f}", "|w' - w| / |w|, of weights other than zero."),
    "uses": Column("Uses per forward pass", "{:,.0f}", "Multiplications by a weight of this parameter, per weight."),
    "cost_bits": Column("Bits per use", "{:.3f}", "Length of a weight's code, mean over all its uses.", "min"),
    "cost": Column("Of float32's bits", "{:.4f}", "The same over 32.", "min"),
    "cost_authors": Column(
        "Of float32's bits, counted as the authors' program does",
        "{:.4f}",
        "There, every value that batch-norm has too is used once in all.",
    ),
    "shift_adds": Column("Shift-adds per multiplication", "{:.3f}", "Powers of two in a value, mean over uses.", "min"),
    "stage": Column("Command", "dvc repro {}", "What makes this result again."),
    "key": Column("MLflow key", "{}", "`make ui KEY=key` opens this run in MLflow; its tag wfn.key."),
    "seed": Column("Seed", "{:.0f}", "Of all random choices."),
    "change": Column("Change to the method", "{}", "Beside δ and α."),
    "claim": Column("Claim", "{}", "As it is tested here."),
    "measured": Column("Measured", "{:.3g}", "Mean over seeds; differences and ratios are taken seed by seed."),
    "measured_spread": Column("±", "{:.2g}", ""),
    "interval": Column("95 % interval of the mean, ±", "{:.2g}", "Student's t, over the seeds."),
    "least": Column(
        "At least", "{:g}", "What it has to reach. 56 and 1.9 are the paper's; 0.3 points, 1 bit and one half ours."
    ),
    "unit": Column("Unit", "{}", "Of both."),
    "verdict": Column("Verdict", "{}", "Made only where the interval leaves the claimed figure out."),
    "made_by": Column("Stage", "{}", "Of dvc.yaml, that measured it."),
    "profile": Column("Profile", "{}", "Settings in profiles/, and how many runs its figures are means of."),
    "held": Column("Claims that hold", "{}", "Of the paper's that were measured."),
    "rate": Column("Learning rate", "{:g}", "Highest of its schedule."),
    "chosen": Column("Chosen", "{}", "The highest top-1; of equal ones the smaller rate."),
    "used": Column("Used", "{}", "For the results of this page."),
}


def column(name: str) -> Column:
    """A column by its name in a frame; a spread has its figure's form, and what nobody described is shown as it is."""
    if name in COLUMNS or not name.endswith(SPREAD):
        return COLUMNS.get(name, Column(name, "{}", ""))
    of = column(name.removesuffix(SPREAD))
    return Column(f"{of.heading} ±", of.form.replace("+z", ""), "")
