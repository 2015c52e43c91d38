"""Not a stage: the paper's tables on ImageNet (`make paper`), each network made by `make repro` in its own folder."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

from typer import Option

from pipeline.ahead.forecast import Places
from pipeline.ahead.obstacles import obstacles
from pipeline.ahead.turn import take_turn
from pipeline.base.errors import InputError
from pipeline.base.naming import together
from pipeline.base.results import CARD, read_json, writable, write_files
from pipeline.base.settings import Settings
from pipeline.base.settings.plain_yaml import read_yaml
from pipeline.base.settings.reading import PARAMS_FILE
from pipeline.packing.names import packed_name
from pipeline.paper.cost import Work, cost, images_of, last_change, timed_before
from pipeline.paper.document import document, said
from pipeline.paper.pace import pictures_of, try_out
from pipeline.paper.plan import NETWORKS, Files, Plan, check_weights, classes_of, experiment, plan
from pipeline.paper.progress import Network, finished, with_baselines
from pipeline.paper.workshop import FOLDER, OWN, furnish, lend_data, make, place_of, settings_in
from pipeline.report.document import PAGE
from stages.common import folders
from stages.common.cli import run
from stages.common.commit import commit
from stages.common.folders import DATA, PACKED, REPORTS, RUNS
from stages.report import PUBLISHED

CLONE = Path()
BOTH = f"{PARAMS_FILE} with {OWN}"


def paper(
    imagenet: Annotated[
        Path | None, Option(envvar="IMAGENET", help="A folder with train and val, each with a folder a class.")
    ] = None,
    networks: Annotated[str, Option(envvar="NETWORKS", help="Of timm, with commas.")] = ",".join(NETWORKS),
    mini: Annotated[str | None, Option(envvar="MINI", help="Only the first so many images of each class.")] = None,
    seeds: Annotated[str, Option(envvar="SEEDS", help="How many runs of everything, with different seeds.")] = "1",
    page: Annotated[bool, Option("--page", help="Only write the page of what is there so far.")] = False,
) -> None:
    """Make the networks of the paper's tables, as far as they are not there, and the page of both tables."""
    asked = plan(networks, mini, seeds)
    if page:
        _write_page(asked)
        return
    root, classes = classes_of(imagenet)
    files = _experiments(asked, root, classes)
    take_turn(CLONE, lambda line: print(line, file=sys.stderr, flush=True))
    for line in cost(asked, _works(asked, files, root, classes), images_of(root, classes, asked.mini)):
        print(line, flush=True)
    for each in _found(asked):
        print(said(each), flush=True)
    failed: list[Path] = []
    current: list[Path] = []
    changed = last_change(root, classes)
    for number, (network, own) in enumerate(files.items(), 1):
        place = place_of(asked, network)
        print(f"paper: {network}, {number} of {len(files)}, in {place}", flush=True)
        furnish(place, CLONE, own)
        lend_data(place, current, sorted(place.parent.iterdir()), changed)
        try:
            code = make(place, CLONE)
        finally:
            _write_page(asked)
        # What one network met need not be in the next one's way.
        (failed if code else current).append(place)
    if failed:
        names = ", ".join(place.name for place in failed)
        raise InputError(f"{names}: failed, as said above; the same command goes on from what is finished")


def _experiments(asked: Plan, root: Path, classes: Sequence[str]) -> dict[str, Files]:
    """Settings by network, where nothing would stop them."""
    writable(REPORTS)
    given = Files(read_yaml(PARAMS_FILE), read_yaml(OWN))
    files = {network: experiment(given, asked, network, root) for network in asked.networks}
    settings = [each.settings(BOTH) for each in files.values()]
    wrong = dict.fromkeys(problem for each in settings for problem in obstacles(each, []))
    if wrong:
        raise InputError(together([each.replace("model.name", "NETWORKS", 1) for each in wrong]))
    if any(each.model.pretrained for each in settings):
        check_weights(root, classes)
    return files


def _works(asked: Plan, files: Mapping[str, Files], root: Path, classes: Sequence[str]) -> dict[str, Work]:
    """What is to be done, by network; tried for a while where no earlier run tells how long it takes."""
    works: dict[str, Work] = {}
    reading = None
    for network, own in files.items():
        settings, place = own.settings(BOTH), place_of(asked, network)
        stages, whole = [each.stage for each in folders.all_runs(settings)], settings.for_classes(len(classes))
        places = Places(OWN, place / RUNS / settings.profile, place / REPORTS / settings.profile)
        there = _network(place, network)
        work = Work(settings, stages, places, _parameters(whole), stages if there.settings is None else there.missing)
        if not timed_before(settings, stages, places):
            print(f"paper: trying how fast {settings.model.name} is trained here", file=sys.stderr, flush=True)
            trial = try_out(whole, pictures_of(root, classes) if reading is None else [], reading)
            reading = trial.pace.reading if trial.pace else reading
            work = work._replace(trial=trial)
        works[network] = work
    return works


def _parameters(settings: Settings) -> int:
    from pipeline.network.build import build  # torch and timm, after all that can be said without them

    return sum(each.numel() for each in build(settings.model.without_weights(), settings.seed).parameters())


def _found(asked: Plan) -> list[Network]:
    """What is there of every network so far: of those that are asked for, and of others that were before."""
    found = {name: _network(place_of(asked, name), name) for name in asked.networks}
    before = [each.name for each in sorted((FOLDER / asked.images).glob("*")) if each.name not in found]
    others = [network for network in (_network(place_of(asked, name), name) for name in before) if network.runs]
    return sorted([*found.values(), *others], key=lambda each: (each.name not in NETWORKS, each.name))


def _network(place: Path, name: str) -> Network:
    settings = settings_in(place)
    if settings is None:
        return Network(name)
    wanted = folders.all_runs(settings)
    packed = place / PACKED / settings.profile
    runs = {
        each.stage: finished(
            place / RUNS / settings.profile / each.folder,
            None if folders.is_float(each, settings) else packed / packed_name(each.folder),
        )
        for each in wanted
    }
    made = with_baselines({stage: run for stage, run in runs.items() if run is not None})
    page = place / REPORTS / settings.profile / PAGE
    missing = tuple(stage for stage in runs if stage not in made)
    card = place / RUNS / settings.profile / DATA / CARD
    page_of_all = page if page.exists() and not missing else None
    return Network(name, settings, made, missing, page_of_all, *_images(card))


def _images(card: Path) -> tuple[int, int]:
    """How many for testing and for training; none where there is no card, or a damaged one, which is made anew."""
    try:
        found = read_json(card)
        return found["test"]["images"], found["train"]["images"]
    except (FileNotFoundError, InputError, LookupError, TypeError):
        return 0, 0


def _write_page(asked: Plan) -> None:
    """Whatever is there so far; the last line on the terminal says of how few images, if it is."""
    out = REPORTS / ("paper" if asked.mini is None else f"paper-{asked.images}")
    found = _found(asked)
    write_files(out, document(asked, found, PUBLISHED, commit()))
    for each in found:
        if each.page is None:  # that of an earlier run, whose results are being made again
            (out / f"{each.name}.html").unlink(missing_ok=True)
    print(f"paper: open {out / PAGE}{f' ({asked.mark})' if asked.mark else ''}", flush=True)


if __name__ == "__main__":
    run(paper)
