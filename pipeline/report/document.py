"""What the report of one profile consists of."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from pipeline.base.rates import FIXING
from pipeline.base.results import EXAMPLES, METRICS, SETTINGS, Run, to_csv, to_json
from pipeline.base.settings import Settings
from pipeline.report import figures, formats, tables, weights
from pipeline.report.claims import HOLDS, OURS, UNMEASURED, claims
from pipeline.report.page import Listing, Section, page
from pipeline.report.rounds import rounds
from pipeline.report.style import render

# Frames for a figure, too long to be read as a table.
DRAWN_ONLY = {"distribution", "moved"}


@dataclass(frozen=True)
class Results:
    """Everything that a report is made of.

    Sizes are in the runs' metrics (`with_size`). baselines: one for each repeat, that of `pretrain` first. fixed: the
    run of stage `fix` first, then its repeats and the sweep.
    made: every run by its DVC stage, in the order of the pipeline. card: of the data set. file: that of `fix`, packed.
    commit: of the code that made the report. variants, quantised, explored: those of these stages. rates: the choice of
    learning rates. published: the file of published figures. Without any of these: the page of one network.
    """

    baselines: Sequence[Run]
    fixed: Sequence[Run]
    made: Mapping[str, Run]
    card: Mapping[str, Any]
    file: Path
    commit: str
    variants: Sequence[Run] = ()
    quantised: Sequence[Run] = ()
    explore_baselines: Sequence[Run] = ()
    explored: Sequence[Run] = ()
    rates: pd.DataFrame | None = None
    published: Path | None = None

    @property
    def alone(self) -> bool:
        """Whether there is nothing to compare the fixed network with but its baseline."""
        return not (self.variants or self.quantised or self.explored or len(self.fixed) > 1)

    @property
    def test_images(self) -> int:
        """How many images top-1 is measured on."""
        return int(self.card["test"]["images"])

    @property
    def trained(self) -> list[Run]:
        """Every fixed network of the baseline's kind that was trained in its rounds."""
        return [*self.fixed, *(run for run in self.variants if len(run.settings["fixing"]["fractions"]) > 1)]

    @property
    def idle_share(self) -> float:
        """Share of the network's weights that meet nothing but padding."""
        layout = self.baselines[0].layers
        return 0.0 if layout is None else float(layout["idle"].sum() / layout["weights"].sum())


def with_size(run: Run, packed: Path | None) -> Run:
    """A run whose metrics say the bytes of its packed file as well; of a float network, which has none, its own."""
    size = packed.stat().st_size if packed else run.metrics["float_bytes"]
    return replace(run, metrics=run.metrics | {"packed_bytes": size})


def report_files(settings: Settings, results: Results) -> dict[str, bytes]:
    """Every file of the report, name -> content."""
    frames = _frames(settings, results)
    pictures = _pictures(results, frames)
    files = {f"{name}.{kind}": render(picture, kind) for name, picture in pictures.items() for kind in ("svg", "png")}
    sections = _sections(settings, results, frames, files)
    title = f"Weight fixing: {settings.model.name} on {settings.data.name}"
    texts = {"index.html": page(title, _headline(settings, results, frames), sections)}
    for name, frame in frames.items():
        texts[f"{name}.csv"] = to_csv(frame).decode()
        if name not in DRAWN_ONLY:
            texts[f"{name}.md"] = formats.to_markdown(frame)
            texts[f"{name}.tex"] = formats.to_latex(frame)
    # metrics.json and settings.json make the report a run of its own for MLflow.
    summary = {METRICS: to_json(_summary(frames["comparison"])), SETTINGS: to_json(settings.model_dump(mode="json"))}
    return files | {name: text.encode() for name, text in texts.items()} | summary


def _frames(settings: Settings, results: Results) -> dict[str, pd.DataFrame]:
    """The tables by name; one without rows is left out."""
    main, baseline = results.fixed[0], results.baselines[0]
    layout = baseline.layers
    if layout is None or main.iterations is None or main.centres is None:
        raise FileNotFoundError(f"{main.folder}, {baseline.folder}: iterations.csv, centres.csv, layers.csv are needed")
    before, after = weights.read_parameters(baseline, layout), weights.read_weights(main, layout)
    comparison = tables.comparison(results.baselines, results.trained, settings.model.name)
    frames = {
        **({} if results.alone else _compared(settings, results, comparison)),
        "comparison": comparison,
        "fates": tables.fates(main),
        "representation": tables.representation(results.fixed, layout),
        "layers": weights.layerwise(layout, before, after),
        "distribution": weights.distribution(before, after),
        "moved": weights.moved(before, after),
        "provenance": tables.provenance(results.made),
    }
    return {name: frame for name, frame in frames.items() if len(frame)}


def _compared(settings: Settings, results: Results, comparison: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The tables of what the fixed network is compared with: other settings, other methods, what others published."""
    main = results.fixed[0]
    compared = tables.compared_runs(results.baselines, [*results.fixed, *results.variants], results.quantised)
    explored = tables.explored_runs(results.explore_baselines, results.explored)
    again = [run for run in results.fixed if _same_setting(run, main)]
    frames = {"claims": claims(settings, compared, again, explored), "quantisers": tables.quantisers(compared)}
    frames["exploration"] = tables.explored(explored)
    rates, published = results.rates, results.published
    if published is not None:
        same, elsewhere = tables.published(published, settings.data.name, settings.model.name)
        frames["published"] = tables.beside_published(comparison, same)
        frames |= {"published-same": same, "published-elsewhere": elsewhere}
    if rates is not None:
        frames["rates"] = rates.assign(method=rates["method"].replace(tables.METHODS | {FIXING: "WFN"}))
    return frames


def _same_setting(run: Run, other: Run) -> bool:
    return all(run.settings[key] == other.settings[key] for key in ("delta", "alpha"))


def _pictures(results: Results, frames: dict[str, pd.DataFrame]) -> dict[str, Figure]:
    main, images = results.fixed[0], results.test_images
    assert main.iterations is not None
    assert main.centres is not None
    pictures = {
        "rounds": rounds(main.iterations, main.centres),
        "layers": figures.layerwise(frames["layers"]),
        "what-changed": figures.what_changed(frames["distribution"], frames["moved"], frames["layers"]),
    }
    if "quantisers" in frames:
        pictures["accuracy-size"] = figures.accuracy_against_size(frames["quantisers"], images)
    if "exploration" in frames:
        pictures["exploration"] = figures.exploration(frames["exploration"], images)
    return pictures


def _sections(
    settings: Settings, results: Results, frames: dict[str, pd.DataFrame], files: dict[str, bytes]
) -> list[Section]:
    """The page's parts in order: a heading, a note, and a table or a figure by name."""
    main = results.fixed[0]
    setting = f"δ = {settings.delta:g}, α = {settings.alpha:g}, seed {settings.seed}"
    explore = settings.explore.model
    explore_rounds = len(results.explored[0].settings["fixing"]["fractions"]) if results.explored else 0
    parts = [
        (
            "What the paper claims, what was measured here",
            f"{settings.model.name} on {_images(results.card)}, and {explore} for the settings. A claim asks for a "
            "figure of at least so much. ± is the standard deviation over runs with different seeds; differences and "
            "ratios are taken seed by seed. A verdict is made only where the 95 % interval of the mean (Student's t) "
            "leaves the claimed figure out, and never of a single run.",
            "claims",
        ),
        (
            "Baseline and fixed networks",
            f"{_images(results.card)}. Means over runs with different seeds, ± their standard deviation; seed "
            f"{settings.seed} and those after it, each with a baseline of its own, from which the change is counted. "
            "Entropy and counts are of the whole network, zeros included; “as published” leaves out the zero value and "
            "the down-sample layers, as the paper's tables do."
            f"{_idle(results)}",
            "comparison",
        ),
        (
            "Beside the published figures",
            "Same data set and model, in the accounting of the published tables.",
            "published",
        ),
        ("Published for this data set and model", "Measured by others.", "published-same"),
        (
            "Accuracy against size",
            "Size: the packed file of the whole network. Bars: standard "
            "deviation over n runs, where there is more than one. The front joins what nothing else beats in both.",
            "accuracy-size.svg",
        ),
        (
            "WFN against other methods",
            "The same data for all, and as many epochs as the column says; means over the runs of a setting, ± their "
            "standard deviation. Each begins with the baseline of its own seed, from which its change is counted. "
            "Entropy and unique values are of the values as multiplied out; index entropy is of the indices into each "
            "codebook, with the scale factored out. Sizes are those of the packed files. Bits are a weight's; the "
            "first and the last layer have 8 with APoT and LSQ. Activations are float where no bits are given.",
            "quantisers",
        ),
        ("Over the fixing rounds", f"{setting}.", "rounds.svg"),
        (
            "How the settings act",
            f"{explore}, a small network with baselines of its own on the same data, fixed in {explore_rounds} "
            f"rounds; means over {len(settings.explore.repeats)} runs, bars are their standard deviation. Values are "
            "counted in the whole network, so batch-norm that stays float adds its own.",
            "exploration.svg",
        ),
        ("The settings in numbers", f"{explore} on {settings.data.name}.", "exploration"),
        ("What became of every weight", f"{main.metrics['parameters']:,} parameters at {setting}.", "fates"),
        (
            "What changed",
            f"{setting}. Weights beyond the outermost 0.2 % are not in the first panel; a relative distance of 1 is a "
            "weight that became zero.",
            "what-changed.svg",
        ),
        (
            "Layer by layer",
            f"{setting}. Values up to a layer are counted as a union, and as the sum of the layers' own counts, as the "
            "paper's figure does. The numbers are in layers.csv.",
            "layers.svg",
        ),
        (
            "How the learning rates were chosen",
            "The same grid for every method, one run each, on images kept from the training images and with a seed "
            "that is none of those above. Chosen is the highest top-1; of equal ones the smaller rate.",
            "rates",
        ),
        (
            "Representation cost",
            "Mean over all uses of a weight in one forward pass: the length of its value's code, and how many shifts "
            "and adds multiplying by it takes (one per power of two).",
            "representation",
        ),
        (
            "Published elsewhere",
            "Other data sets or models: for orientation, not for comparison with the rows above.",
            "published-elsewhere",
        ),
        (
            "How it was made",
            f"The report was made at commit {results.commit}. Each result comes from one stage of dvc.yaml; "
            "seconds are of the work itself, without start-up; images per second of its training, beside those of the "
            "plain training of the same network, where that was done here.",
            "provenance",
        ),
    ]
    sections = [
        Section(heading, note, files[name] if name in files else frames[name])
        for heading, note, name in parts
        if name in files or name in frames
    ]
    opening = 0 if results.alone else 1
    return [
        *sections[:opening],
        _take_home(results),
        *sections[opening:],
        *_examples(results.baselines[0]),
        Section("Settings", "params.yaml and the profile", json.dumps(settings.model_dump(mode="json"), indent=2)),
    ]


def _take_home(results: Results) -> Section:
    """The main network's packed file, and the lines that load it."""
    metrics, path = results.fixed[0].metrics, results.file
    size = metrics["packed_bytes"]
    return Section(
        "Take the network home",
        f"{path}: {size / 1e6:.2f} MB ({size:,} bytes) for {metrics['float_bytes'] / 1e6:.2f} MB as float32, with "
        "the names of the classes and what becomes of a picture. A line of Python loads it, a command tries it on a "
        "picture; docs/export.md has ONNX and others.",
        Listing(
            f'network = wfn.load("{path}")\n'
            "network(network.transform(picture)[None]).softmax(-1)\n\n"
            f"wfn predict {path} picture.png"
        ),
    )


def _examples(baseline: Run) -> list[Section]:
    """Training pictures as the network sees them, which runs of older versions do not have."""
    path = baseline.folder / EXAMPLES
    note = "The first training pictures of each class, as they come to the network, before shifts, crops and mirroring."
    return [Section("What the network sees", note, path.read_bytes())] if path.is_file() else []


def _images(card: Mapping[str, Any]) -> str:
    """The data set in a few words: how many images of which classes, and how they came."""
    parts = [f"{card[part]['images']:,} {word} images" for part, word in (("train", "training"), ("test", "test"))]
    kinds = sorted({kind for part in card.get("stored_as", {}).values() for kind in part})
    stored = f", which came as {'; '.join(kinds)}" if kinds else ""
    return f"{card['name']}: {' and '.join(parts)} in {card['classes']} classes{stored}"


def _idle(results: Results) -> str:
    """A sentence on weights that cannot act, where there are any."""
    share = results.idle_share
    return f" At this size of images {share:.0%} of the weights meet nothing but padding." if share else ""


def _headline(settings: Settings, results: Results, frames: Mapping[str, pd.DataFrame]) -> str:
    """What the main setting cost and saved, means over its runs, and how many claims hold."""
    comparison = frames["comparison"]
    same = (comparison["delta"] == settings.delta) & (comparison["alpha"] == settings.alpha)
    main = comparison[same].iloc[0]
    runs = f" Means over {main['runs']} runs." if main["runs"] > 1 else ""
    return (
        f"{results.fixed[0].metrics['parameters'] / 1e6:.1f} million weights → {main['unique']:.0f} values, "
        f"{main['entropy']:.2f} bits each, {main['ratio']:.1f} × smaller, "
        f"{_change(main)} points (top-1 {main['top1']:.1f} %).{runs}{_verdicts(frames)}"
    )


def _change(row: pd.Series) -> str:
    """A row's change of top-1 and its spread, if it has one; what is rounded to nothing is no loss."""
    change = f"{round(row['drop'], 2) + 0.0:+.2f}"
    return change if pd.isna(row["drop_spread"]) else f"{change} ± {row['drop_spread']:.2f}"


def _verdicts(frames: Mapping[str, pd.DataFrame]) -> str:
    """A sentence on the paper's claims, where there are any."""
    if "claims" not in frames:
        return ""
    verdicts = frames["claims"].loc[frames["claims"]["source"] != OURS, "verdict"]
    held, measured = (verdicts == HOLDS).sum(), (verdicts != UNMEASURED).sum()
    return f" Of the paper's claims {held} of {measured} measured here hold."


def _summary(comparison: pd.DataFrame) -> dict[str, float | int]:
    """The report's own headline numbers: of the best fixed network, and of the smallest."""
    fixed = comparison[comparison["method"] == "WFN"]
    best, smallest = fixed.iloc[fixed["top1"].argmax()], fixed.iloc[fixed["megabytes"].argmin()]
    return {
        "settings": len(fixed),
        "best_top1": float(best["top1"]),
        "best_unique": int(best["unique"]),
        "best_entropy": float(best["entropy"]),
        "smallest_megabytes": float(smallest["megabytes"]),
        "smallest_top1": float(smallest["top1"]),
    }
