"""What the report of one profile consists of: tables, figures, and the page that shows them."""

from __future__ import annotations

from typing import Any

import pandas as pd

from pipeline.base.rates import FIXING, own_rate
from pipeline.base.results import METRICS, SETTINGS, Run, to_csv, to_json
from pipeline.base.settings import Settings
from pipeline.report import comparisons, weights
from pipeline.report.accuracy import accuracy_against_size
from pipeline.report.chapters import chapters
from pipeline.report.claims import claims
from pipeline.report.exploration import exploration
from pipeline.report.formats import to_latex, to_markdown
from pipeline.report.headline import cards, headline
from pipeline.report.layers import layerwise, what_changed
from pipeline.report.page import page
from pipeline.report.provenance import provenance
from pipeline.report.published_tables import PUBLISHED, beside_published, published_rows
from pipeline.report.results import Results
from pipeline.report.rounds import rounds
from pipeline.report.style import Picture, render

PAGE = "index.html"
NAMES = comparisons.METHODS | {FIXING: "WFN"}
# Frames for a figure or for another program, not to be read as a table: every run, of which tables have the means, too.
NUMBERS_ONLY = {"distribution", "moved", "rounds", "values", "runs", "explored-runs"}


def report_files(settings: Settings, results: Results, up: str = "") -> dict[str, bytes]:
    """Every file of the report, name -> content. up: address of the start page, for a link."""
    frames = _frames(settings, results)
    pictures = _pictures(results, frames)
    texts = {PAGE: _page(settings, results, frames, pictures, up)}
    for name, frame in frames.items():
        texts[f"{name}.csv"] = to_csv(frame).decode()
        if name not in NUMBERS_ONLY:
            texts |= {f"{name}.md": to_markdown(frame), f"{name}.tex": to_latex(frame)}
    # metrics.json and settings.json make the report a run of its own for MLflow.
    summary = {METRICS: to_json(_summary(frames["comparison"])), SETTINGS: to_json(settings.model_dump(mode="json"))}
    drawn = {f"{name}.{kind}": file for name, picture in pictures.items() for kind, file in render(picture).items()}
    return drawn | {name: text.encode() for name, text in texts.items()} | summary


def page_alone(settings: Settings, results: Results) -> dict[str, bytes]:
    """The page as the only file, which holds all its tables and figures."""
    frames = _frames(settings, results)
    return {PAGE: _page(settings, results, frames, _pictures(results, frames)).encode()}


def _page(
    settings: Settings, results: Results, frames: dict[str, pd.DataFrame], pictures: dict[str, Picture], up: str = ""
) -> str:
    title = f"Weight fixing: {settings.model.name} on {settings.data.name}"
    first = headline(settings, results, frames), cards(settings, results, frames)
    return page(title, *first, chapters(settings, results, frames, pictures), up)


def _frames(settings: Settings, results: Results) -> dict[str, pd.DataFrame]:
    """The tables by name; one without rows is left out."""
    main, baseline = results.fixed[0], results.baselines[0]
    layout = baseline.layers
    if layout is None or main.iterations is None or main.centres is None:
        raise FileNotFoundError(f"{main.folder}, {baseline.folder}: iterations.csv, centres.csv, layers.csv are needed")
    before, after = weights.read_parameters(baseline, layout), weights.read_weights(main, layout)
    comparison = comparisons.comparison(results.baselines, results.trained, settings.model.name)
    frames = {
        **({} if results.alone else _compared(settings, results)),
        "comparison": comparison,
        "rounds": main.iterations,
        "values": main.centres,
        "fates": weights.fates(main),
        "representation": weights.representation(results.fixed, layout),
        "layers": weights.layerwise(layout, before, after),
        "distribution": weights.distribution(before, after),
        "moved": weights.moved(before, after),
        "provenance": provenance(results.made),
    }
    return {name: frame for name, frame in frames.items() if len(frame)}


def _compared(settings: Settings, results: Results) -> dict[str, pd.DataFrame]:
    """The tables of what the fixed network is compared with: other settings, other methods, what others published."""
    main = results.fixed[0]
    compared = comparisons.compared_runs(results.baselines, [*results.fixed, *results.variants], results.quantised)
    explored = comparisons.explored_runs(results.explore_baselines, results.explored, _how_explored(settings))
    again = [run for run in results.fixed if _same_setting(run, main)]
    found = claims(settings, compared, again, explored, results.test_images)
    frames = {"claims": found, "quantisers": comparisons.quantisers(compared), "runs": compared}
    frames |= {"exploration": comparisons.explored(explored), "explored-runs": explored}
    rates, published = results.rates, results.published
    if published is not None:
        same, elsewhere = published_rows(published, settings.data.name, settings.model.name)
        frames["published"] = beside_published(frames["quantisers"], same)
        for name, rows in (("same", same), ("elsewhere", elsewhere)):
            frames[f"published-{name}"] = rows.rename(columns=PUBLISHED)
    if rates is not None:
        frames["rates"] = rates.assign(
            used=[row["rate"] == own_rate(settings, row["method"]) for _, row in rates.iterrows()],
            method=rates["method"].replace(NAMES),
        )
    return frames


def _how_explored(settings: Settings) -> dict[str, Any]:
    """The settings under `fixing` of a network of `explore` that no ablation has changed, as its own file has them."""
    return settings.for_explore().fixing.model_dump(mode="json")


def _same_setting(run: Run, other: Run) -> bool:
    return all(run.settings[key] == other.settings[key] for key in ("delta", "alpha"))


def _pictures(results: Results, frames: dict[str, pd.DataFrame]) -> dict[str, Picture]:
    images = results.test_images
    pictures = {
        "rounds": rounds(frames["rounds"], frames["values"]),
        "layers": layerwise(frames["layers"]),
        "what-changed": what_changed(frames["distribution"], frames["moved"], frames["layers"]),
    }
    if "quantisers" in frames:
        pictures["accuracy-size"] = accuracy_against_size(frames["quantisers"], images)
    if "exploration" in frames:
        pictures["exploration"] = exploration(frames["explored-runs"], images)
    return pictures


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
