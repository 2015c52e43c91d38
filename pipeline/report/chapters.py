"""The chapters of the page: what stands where, and the notes that say how to read it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from pipeline.base.rates import at_the_edge
from pipeline.base.results import EXAMPLES, to_csv
from pipeline.base.settings import Settings
from pipeline.report.comparisons import BASELINE, named
from pipeline.report.formats import Table, glossary
from pipeline.report.headline import CLAIMS, COMPARISON, LOST, USE
from pipeline.report.page import Chapter, Folded, Glossary, Listing, Section
from pipeline.report.published_tables import footnoted
from pipeline.report.results import Results
from pipeline.report.style import Picture

# The frames that a figure is drawn from.
NUMBERS = {
    "accuracy-size": ("quantisers",),
    "exploration": ("exploration",),
    "rounds": ("rounds", "values"),
    "what-changed": ("distribution", "moved", "layers"),
    "layers": ("layers",),
}
IN_MLFLOW = (
    " and is one run in MLflow: `make ui` shows all of them, `make ui KEY=key` one, which leads back to this page"
)
# The frames that are shown as tables, in the page's order.
TABLES = (
    *("claims", "quantisers", "comparison", "published", "published-same", "exploration", "fates", "representation"),
    *("rates", "provenance", "published-elsewhere"),
)
# The columns of a table that are always in sight; all of them where nothing is said.
NETWORKS = ("method", "top1", "drop", "megabytes", "unique")
FIRST = {
    "claims": ("claim", "verdict", "measured", "least", "unit"),
    "comparison": NETWORKS,
    "quantisers": NETWORKS,
    "exploration": ("method", "top1", "drop", "entropy", "unique"),
    "provenance": ("stage", "seconds", "images_per_second", "of_plain", "key"),
}


# Headings of figures and tables.
BESIDE_EACH_OTHER = {
    "quantisers": "WFN against other methods",
    "comparison": COMPARISON,
    "published": "Beside the published figures",
    "published-same": "Published for this data set and model",
    "exploration": "How the settings act",
}
INSIDE = {
    "rounds": "Over the fixing rounds",
    "fates": "What became of every weight",
    "what-changed": "What changed",
    "layers": "Layer by layer",
    "representation": "Representation cost",
}


def chapters(
    settings: Settings, results: Results, frames: Mapping[str, pd.DataFrame], pictures: Mapping[str, Picture]
) -> list[Chapter]:
    """The page's chapters in order, without the sections of which there is nothing to show."""
    notes = _notes(settings, results, frames)

    def those(headings: Mapping[str, str]) -> list[Section]:
        """Sections of figures and tables, by their names."""
        found = []
        for name, heading in headings.items():
            if name in pictures:
                found.append(_drawn(heading, notes[name], name, pictures[name], frames))
            elif name in frames:
                found.append(_tabled(heading, notes[name], name, frames[name]))
        return found

    return [
        Chapter("The result", [*those({"claims": CLAIMS, "accuracy-size": LOST}), _use(results)]),
        Chapter("Networks beside each other", [*those(BESIDE_EACH_OTHER), *_explored(settings, frames)]),
        Chapter("Inside the fixed network", those(INSIDE)),
        Chapter(
            "How it was made",
            [
                *_examples(results),
                *those({"rates": "How the learning rates were chosen", "provenance": "Every run"}),
                Section("Settings", "params.yaml and the profile", Folded(_json(settings))),
            ],
        ),
        Chapter("Reference", [*those({"published-elsewhere": "Published elsewhere"}), _glossary(frames)]),
    ]


def _notes(settings: Settings, results: Results, frames: Mapping[str, pd.DataFrame]) -> dict[str, str]:
    """How to read each figure and table, by its name."""
    images, model, small = _images(results.card), settings.model.name, settings.explore.model
    setting = f"δ = {settings.delta:g}, α = {settings.alpha:g}, seed {settings.seed}"
    means = (
        "Means over n runs with different seeds, ± their standard deviation; a change is counted from the baseline of "
        "the same seed. Strong: the best of a column, and what the spreads do not tell from it."
        if frames["comparison"]["runs"].max() > 1
        else "One run of each."
    )
    share = results.idle_share
    idle = f" At this size of images {share:.0%} of the weights meet nothing but padding." if share else ""
    rounds = len(results.explored[0].settings["fixing"]["fractions"]) if results.explored else 0
    return {
        "claims": f"{model} on {images}; {small} for distance and batch-norm, over the δ that {model} has. A verdict "
        "is made only where the 95 % interval of the mean (Student's t) leaves the figure asked for out, and never of "
        "a single run; of so many verdicts one may be wrong by chance.",
        "accuracy-size": "Bars and ± are standard deviations over n runs, where there is more than one.",
        "quantisers": f"The same data for all. {means} Entropy and unique values are of the values as multiplied out. "
        "Bits are a weight's; activations are float where no bits are given.",
        "comparison": f"{images}. {means}{idle}",
        "published": "Same data set and model, in the accounting of the published tables. Trainings and copies of the "
        "images differ: the change from the float network can be compared, top-1 cannot.",
        "published-same": "Measured by others.",
        "published-elsewhere": "Other data sets or models: for orientation, not for comparison with what was measured "
        "here.",
        "exploration": f"{small}, a small network with baselines of its own on the same data, fixed in {rounds} "
        f"rounds; means over {len(settings.explore.repeats)} runs, bars and ± are standard deviations, and a "
        "change is taken seed by seed. Values are counted in the whole network, so batch-norm that stays float adds "
        "its own.",
        "rounds": f"{setting}.",
        "fates": f"{results.fixed[0].metrics['parameters']:,} parameters at {setting}.",
        "what-changed": f"{setting}. Weights beyond the outermost 0.2 % are not in the first panel; a relative "
        "distance of 1 is a weight that became zero, or doubled.",
        "layers": f"{model}, {setting}.",
        "representation": "Mean over all uses of a weight in one forward pass: the length of its value's code, and "
        "how many shifts and adds multiplying by it takes (one per power of two). The count as the authors' program "
        "does it is an artefact: their notebook resets the uses of every value that occurs in a batch-norm to one, "
        "and its denominator is a Huffman-coded float network (docs/method.md, section 9).",
        "rates": "The same grid for every method, one run each, on images kept from the training images and with a "
        f"seed that is none of the results'.{_of_the_rates(frames)}",
        "provenance": f"The report was made at commit {results.commit}. Each result comes from one stage of "
        f"dvc.yaml{'' if results.alone else IN_MLFLOW}. "
        "The same settings and seed give the same bits on the same kind of machine only: it stands beside them.",
    }


def _of_the_rates(frames: Mapping[str, pd.DataFrame]) -> str:
    """What is not as it should be in the choice of rates."""
    table = frames.get("rates", pd.DataFrame(columns=["method", "rate", "top1", "chosen", "used"]))
    edge, other = at_the_edge(table), table.loc[table["chosen"] & ~table["used"], "method"].tolist()
    said = {
        "was best at an end of the grid, beyond which another rate may be better": edge,
        "has another rate in the results than the chosen one": other,
    }
    trained = [*dict.fromkeys(_others(frames)["method"])]
    said["had no rate chosen"] = [method for method in trained if method not in set(table["method"])]
    return "".join(f" {' and '.join(methods)} {words}." for words, methods in said.items() if methods)


def _others(frames: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The rows of other methods, as far as they were trained."""
    rows = frames.get("quantisers", pd.DataFrame(columns=["method", "epochs"]))
    return rows[~rows["method"].str.startswith("WFN") & (rows["method"] != BASELINE) & (rows["epochs"] > 0)]


def _drawn(heading: str, note: str, name: str, picture: Picture, frames: Mapping[str, pd.DataFrame]) -> Section:
    return Section(heading, note, picture, {f"{part}.csv": to_csv(frames[part]) for part in NUMBERS[name]})


def _tabled(heading: str, note: str, name: str, frame: pd.DataFrame) -> Section:
    numbers = {f"{name}.csv": to_csv(frame)}
    footnotes: list[str] = []
    if name.startswith("published"):
        frame, footnotes = footnoted(frame)
    compared = frame["method"] != BASELINE if FIRST.get(name) == NETWORKS else None
    if "runs" in frame and "method" in frame:
        frame = named(frame)
    return Section(heading, note, Table(frame, FIRST.get(name, ()), compared), numbers, footnotes)


def _explored(settings: Settings, frames: Mapping[str, pd.DataFrame]) -> list[Section]:
    """The table behind the figure on the settings, where they were explored."""
    name, note = "exploration", f"{settings.explore.model} on {settings.data.name}."
    return [_tabled("The settings in numbers", note, name, frames[name])] if name in frames else []


def _use(results: Results) -> Section:
    """The main network's packed file, and the lines that load it."""
    metrics, path = results.fixed[0].metrics, results.file
    size = metrics["packed_bytes"]
    return Section(
        USE,
        f"{path}: {size / 1e6:.2f} MB ({size:,} bytes) for {metrics['float_bytes'] / 1e6:.2f} MB as float32, with "
        "the names of the classes and what becomes of a picture. A line of Python loads it, a command tries it on a "
        "picture; docs/export.md has ONNX and others.",
        Listing(
            f'network = wfn.load("{path}")\n'
            "network(network.transform(picture)[None]).softmax(-1)\n\n"
            f"wfn predict {path} picture.png"
        ),
    )


def _examples(results: Results) -> list[Section]:
    """Training pictures as the network sees them, which runs of older versions do not have."""
    path = results.baselines[0].folder / EXAMPLES
    note = "The first training pictures of each class, as they come to the network, before shifts, crops and mirroring."
    return [Section("What the network sees", note, path.read_bytes())] if path.is_file() else []


def _images(card: Mapping[str, Any]) -> str:
    """The data set in a few words: how many images of which classes, and how they came."""
    parts = [f"{card[part]['images']:,} {word} images" for part, word in (("train", "training"), ("test", "test"))]
    kinds = sorted({kind for part in card.get("stored_as", {}).values() for kind in part})
    stored = f", which came as {'; '.join(kinds)}" if kinds else ""
    return f"{card['name']}: {' and '.join(parts)} in {card['classes']} classes{stored}"


def _glossary(frames: Mapping[str, pd.DataFrame]) -> Section:
    shown = [frames[name] for name in TABLES if name in frames]
    return Section("What the columns mean", "In the order of their first use.", Glossary(glossary(shown)))


def _json(settings: Settings) -> str:
    return json.dumps(settings.model_dump(mode="json"), indent=2)
