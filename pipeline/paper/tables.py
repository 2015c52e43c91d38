"""The paper's two tables, measured here beside what was published; a cell without a figure says why it has none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.paper.plan import DELTAS, PROFILE, WEIGHTS, Plan, timm_name
from pipeline.paper.progress import Network
from pipeline.report.claims import APOT_BITS, claims
from pipeline.report.comparisons import BASELINE, METHODS, compared_runs, explored_runs, over_runs
from pipeline.report.evidence import UNMEASURED
from pipeline.report.published_tables import AS_PUBLISHED, FLOAT, published_rows

WFN, APOT = "WFN", METHODS["apot"]
OF_PAPER = "APoT, as measured by the WFN paper"
COUNTED = ("entropy", "unique", "unique_no_bn", "unique_no_bn_first_last")
MEASURED = ("top1", "drop", *COUNTED, *AS_PUBLISHED, "megabytes")
PUBLISHED = ("top1", "entropy", "unique")
SPREAD = ("top1_spread", "drop_spread", "entropy_spread", "unique_spread", "megabytes_spread")
TABLE_1 = (
    *("model", "method", "setting", "runs", "top1", "top1_spread", "published_top1", "top1_difference"),
    *("entropy_as_published", "published_entropy", "unique_as_published", "published_unique", "source"),
)
TABLE_2 = (
    *("model", "method", "setting", "runs", "top1", "top1_spread", "drop", "drop_spread", "entropy", "entropy_spread"),
    *("unique", "unique_spread", "unique_no_bn", "unique_no_bn_first_last", "megabytes", "megabytes_spread"),
    *("published_top1", "published_entropy", "published_unique", "source"),
)
IMAGES = "Images a class"


# Why a cell has no figure.
NOT_YET, NOT_HERE, NOT_PUBLISHED = "not measured yet", UNMEASURED, "not published"
NOT_SO_FAR = "not measured so far"  # of what may not be run at all


def table_1(networks: Sequence[Network], published_file: Path) -> pd.DataFrame:
    """Every network in float, by WFN at the paper's deltas and by APoT beside what was published of each.

    Entropy and values as the published ones were counted. Last come published widths of APoT, not measured here.
    """
    rows = []
    for network in networks:
        theirs, ours = _published(published_file, network), measured(network)
        wanted = settings()
        more = theirs[(theirs["method"] == APOT) & ~theirs["setting"].isin([setting for _, setting in wanted])]
        for method, setting in [*wanted, *((APOT, str(each)) for each in more["setting"])]:
            without = NOT_YET if (method, setting) in wanted else NOT_HERE
            found = _row(theirs, FLOAT if method == BASELINE else method, setting)
            rows.append(_named(network, method, setting) | _beside(_row(ours, method, setting), found, without))
    return _frame(rows, TABLE_1)


def table_2(networks: Sequence[Network], published_file: Path) -> pd.DataFrame:
    """WFN against APoT in full: values in the whole network, without batch-norm, without the outer layers, and bytes.

    Published figures of APoT are those that the paper measured.
    """
    rows = []
    for network in networks:
        theirs, ours = _published(published_file, network), measured(network)
        for method, setting in settings():
            found = _row(theirs, {BASELINE: FLOAT, APOT: OF_PAPER}.get(method, method), setting)
            rows.append(_named(network, method, setting) | _beside(_row(ours, method, setting), found, NOT_YET))
    return _frame(rows, TABLE_2)


def settings() -> list[tuple[str, str]]:
    """Method and setting of every row that is measured for each network; the setting as published tables name it."""
    return [
        (BASELINE, "float32"),
        *((WFN, f"delta {delta:g}") for delta in DELTAS),
        (APOT, f"{APOT_BITS} bit"),
    ]


def measured(network: Network) -> pd.DataFrame:
    """One row for every setting with finished runs: means over seeds, standard deviations where there are several."""
    compared = compared_runs(network.baselines, network.fixed, network.quantised)
    named = compared.assign(setting=[_setting(row) for _, row in compared.iterrows()])
    return over_runs(named, ["method", "setting"], list(MEASURED))


def _setting(row: pd.Series) -> str:
    """As published tables name it."""
    if pd.notna(row["bits"]):
        return f"{row['bits']:.0f} bit"
    return f"delta {row['delta']:g}" if pd.notna(row["delta"]) else "float32"


def _published(path: Path, network: Network) -> pd.DataFrame:
    """What was published for a network on ImageNet, with the weights that the paper begins with; of others nothing."""
    name = timm_name(network.name)
    return published_rows(path, PROFILE, name if name.endswith(f".{WEIGHTS}") else "")[0]


def _row(table: pd.DataFrame, method: str, setting: str) -> dict[str, Any]:
    """The row of a method with a setting as a dictionary, empty where there is none."""
    found = table[(table["method"] == method) & (table["setting"] == setting)]
    return dict(found.iloc[0].dropna()) if len(found) else {}


def _named(network: Network, method: str, setting: str) -> dict[str, Any]:
    return {"model": network.name, "method": method, "setting": setting}


def _beside(ours: dict[str, Any], theirs: dict[str, Any], without: str) -> dict[str, Any]:
    """What was measured, or `without` it the reason, and what was published; the difference where there are both."""
    if not ours:
        difference: Any = without
    else:
        difference = ours["top1"] - theirs["top1"] if "top1" in theirs else NOT_PUBLISHED
    return {
        **{key: ours.get(key, without) for key in ("runs", *MEASURED)},
        **{key: ours.get(key) for key in SPREAD},
        **{f"published_{key}": theirs.get(key, NOT_PUBLISHED) for key in PUBLISHED},
        "top1_difference": difference,
        "source": theirs.get("source", NOT_PUBLISHED),
    }


def _frame(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    """Rows as a table; spreads of which there are none are left out."""
    frame = pd.DataFrame(rows, columns=list(columns), dtype=object)
    empty = [name for name in SPREAD if name in frame and frame[name].isna().all()]
    return frame.drop(columns=empty).infer_objects()


def claims_of(network: Network) -> pd.DataFrame:
    """The paper's claims as the report has them, of what is there so far; no rows before a network is fixed."""
    if not (network.fixed and network.settings and network.test_images):
        return pd.DataFrame()
    settings = network.settings
    compared = compared_runs(network.baselines, network.fixed, network.quantised)
    main = [run for run in network.fixed if run.settings["delta"] == settings.delta]
    found = claims(settings, compared, main, explored_runs([], [], {}), network.test_images)
    why = NOT_SO_FAR if network.missing else NOT_HERE
    found["verdict"] = found["verdict"].replace(UNMEASURED, why)
    nothing = found["runs"] == 0
    found["measured"] = found["measured"].astype(object).mask(nothing, why)
    found.insert(0, "model", network.name)
    return found.infer_objects()


def made_with(networks: Sequence[Network]) -> pd.DataFrame:
    """What each network was made of and with; what another has otherwise is not compared with it in the tables."""
    rows = []
    for network in networks:
        if network.settings is None:
            continue
        data, few, hardware = network.settings.data, network.settings.finetune, network.settings.hardware
        fixing = network.settings.fixing
        rows.append(
            {
                "model": network.name,
                "Training images": network.train_images or NOT_YET,
                "Test images": network.test_images or NOT_YET,
                "Recipe of the pictures": data.recipe,
                "pixels": data.pixels,
                "Epochs a round": few.epochs,
                "Rounds": len(fixing.fractions),
                "Batch": few.batch_size,
                "Rate": few.lr,
                "Optimiser": few.optimizer,
                "alpha": network.settings.alpha,
                "Distance": fixing.distance,
                "Batch-norm fixed": "yes" if fixing.fix_batch_norm else "no",
                "Precision": hardware.precision,
                "Devices": str(hardware.devices),
            }
        )
    return pd.DataFrame(rows, dtype=object).infer_objects()


def work(networks: Sequence[Network]) -> pd.DataFrame:
    """What every result took: seconds, and images a second of training."""
    rows = []
    for network in networks:
        for stage, run in network.runs.items():
            speed = run.images_per_second
            took = {"seconds": run.seconds, "images_per_second": NOT_HERE if speed is None else speed}
            rows.append({"model": network.name, "Result of stage": stage, **took})
        rows += [
            {"model": network.name, "Result of stage": stage, "seconds": NOT_YET, "images_per_second": NOT_YET}
            for stage in network.missing or (() if network.runs else ("all",))
        ]
    return pd.DataFrame(rows, dtype=object).infer_objects()


def marked(table: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    """The table with a column for how few images it is of; of all of them, as it is."""
    return table if plan.mini is None or not len(table) else table.assign(**{IMAGES: plan.mini})
