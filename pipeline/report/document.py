"""What the report of one profile consists of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from pipeline.config import Settings
from pipeline.report import figures, tables
from pipeline.report.page import Section, page
from pipeline.results import METRICS, SETTINGS, Run, to_csv, to_json


def report_files(
    settings: Settings, baseline: Run, fixed: Sequence[Run], quantised: Sequence[Run], published_file: Path
) -> dict[str, bytes]:
    """Every file of the report, name -> content.

    fixed: the run of stage `fix` first, then its repeats and the sweep. quantised: those of stage `quantise`.
    """
    main = fixed[0]
    if main.iterations is None or main.centres is None:
        raise FileNotFoundError(f"{main.folder}: iterations.csv and centres.csv are needed for the figures")
    comparison = tables.comparison(baseline, fixed)
    quantisers = tables.quantisers(baseline, fixed, quantised, settings.training_epochs)
    fates = tables.fates(main)
    same, others = tables.published(published_file, settings.data.name, settings.model.name)
    frames = {"comparison": comparison, "quantisers": quantisers, "fates": fates} | (
        {"published": same} if len(same) else {}
    )
    pictures = {
        "accuracy-size": figures.accuracy_against_size(comparison),
        "rounds": figures.rounds(main.iterations, main.centres),
    }
    rendered = {f"{name}.{kind}": figures.render(pictures[name], kind) for name in pictures for kind in ("svg", "png")}

    main_setting = f"δ = {settings.delta:g}, α = {settings.alpha:g}"
    sections = [
        Section(
            "Baseline and fixed networks",
            f"{settings.model.name} on {settings.data.name}, seed {settings.seed}, n = 1 run per row. Entropy and "
            "counts are of the whole network, zeros included; “as published” leaves out the zero value and the "
            "down-sample layers, as the paper's tables do.",
            comparison,
        ),
        Section(
            "WFN against other methods",
            "The same baseline network, data and number of training epochs for all; means over the runs of a setting, "
            "± their standard deviation. Entropy and unique values are of the values as multiplied out; index entropy "
            "is of the indices into each codebook, with the scale factored out. Sizes are of the whole network: "
            "indices, tables, codebooks, float parameters and buffers. Bits are a weight's; the first and the last "
            "layer have 8 with APoT and LSQ. Activations are float where no bits are given.",
            quantisers,
        ),
        Section(
            "What became of every weight",
            f"{main.metrics['parameters']:,} parameters at {main_setting}.",
            fates,
        ),
        Section(
            "Accuracy against size",
            "Size: the whole network with entropy-coded weights, its codebook, tables and buffers.",
            rendered["accuracy-size.svg"],
        ),
        Section("Over the fixing rounds", f"{main_setting}.", rendered["rounds.svg"]),
        *_elsewhere(others),
    ]
    sections[1:1] = _published(same)
    title = f"Weight fixing: {settings.model.name} on {settings.data.name}"
    texts = {"index.html": page(title, _headline(main, baseline), sections)}
    for name, frame in frames.items():
        texts[f"{name}.csv"] = to_csv(frame).decode()
        texts[f"{name}.md"] = tables.to_markdown(frame)
    # metrics.json and settings.json make the report a run of its own for MLflow.
    summary = {METRICS: to_json(_summary(comparison)), SETTINGS: to_json(settings.model_dump(mode="json"))}
    return rendered | {name: text.encode() for name, text in texts.items()} | summary


def _published(rows: pd.DataFrame) -> list[Section]:
    note = "Same data set and model, measured by others; compare with the columns “as published”."
    return [Section("Published figures", note, rows.drop(columns="data"))] if len(rows) else []


def _elsewhere(rows: pd.DataFrame) -> list[Section]:
    note = "Other data sets or models: for orientation, not for comparison with the rows above."
    return [Section("Published elsewhere", note, rows)] if len(rows) else []


def _headline(run: Run, baseline: Run) -> str:
    metrics = run.metrics
    ratio = metrics["float_bytes"] / metrics["coded_bytes"]
    change = metrics["top1"] - baseline.metrics["top1"]
    return (
        f"{metrics['parameters'] / 1e6:.1f} million weights → {metrics['unique']} values, "
        f"{metrics['entropy']:.2f} bits each, {ratio:.1f} × smaller, "
        f"{change:+.1f} points (top-1 {metrics['top1']:.1f} %)"
    )


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
