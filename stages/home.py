"""Stage `home`: one fixed network to take home, as a packed file with a page, compared with its baseline alone."""

from typing import Any

from pipeline.base.results import (
    CARD,
    METRICS,
    Run,
    all_or_nothing,
    read_json,
    to_json,
    writable,
    write_files,
)
from pipeline.base.settings import load_settings
from pipeline.packing.packing import pack_run
from pipeline.report.document import PAGE, page_alone
from pipeline.report.results import Results, with_size
from stages.common.cli import Out, Runs, run
from stages.common.commit import commit
from stages.common.folders import DATA, HOME, RUNS, baselines, fixed
from stages.common.made import read_made

NETWORK = "network.wfn"


def home(runs: Runs = None, out: Out = None) -> None:
    """Pack the network that stage fix wrote, and write its page beside it."""
    settings = load_settings()
    runs, out = runs or RUNS / settings.profile, writable(out or HOME / settings.profile)
    card = read_json(runs / DATA / CARD)
    both = baselines(settings)[0], fixed(settings)[0]
    made = {each.stage: read_made(runs, each, settings, card) for each in both}
    trained, few = made.values()
    with all_or_nothing(out) as staging:
        pack_run(few, card, staging / NETWORK)
        trained, few = with_size(trained, None), with_size(few, staging / NETWORK)
        results = Results([trained], [few], made, card, out / NETWORK, commit())
        write_files(staging, page_alone(settings, results) | {METRICS: to_json(headline(trained, few))})
    print(f"home: open {out / PAGE}")


def headline(trained: Run, few: Run) -> dict[str, Any]:
    """What `dvc exp show` has columns for: top-1 in percent, its change in points, values, bits a weight, the file."""
    return {
        "top1": round(few.metrics["top1"], 2),
        "change": round(few.metrics["top1"] - trained.metrics["top1"], 2),
        "values": few.metrics["unique"],
        "bits": round(few.metrics["entropy"], 3),
        "MB": round(few.metrics["packed_bytes"] / 1e6, 3),
    }


if __name__ == "__main__":
    run(home)
