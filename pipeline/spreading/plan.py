"""What a sweep leaves to workers: the stages that make networks and are out of date, and what each begins with."""

from __future__ import annotations

import subprocess
import tomllib
from collections.abc import Collection, Mapping
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipeline.base.errors import InputError
from pipeline.base.naming import several
from pipeline.spreading.cell import Cell, Source, python, release
from pipeline.watching.place import VARIABLE, place

RESULTS = (":!dvc.lock", ":!reports")  # which a run before this one has left
# Where a file that Git does not know may decide a result.
CODE = ("wfn/", "pipeline/", "stages/", "profiles/")
FOLDER = Path(".dvc", "tmp", "spread")  # in the clone; DVC's own runs of experiments lie beside it
FAR = Path("~/.cache/weight-fixing")  # on a machine that may have no clone


def check_committed() -> str:
    """The commit that workers will have. Raises InputError where files differ from it, which no worker would see."""
    lines = _git("status", "--porcelain", "--", ".", *RESULTS).splitlines()
    changed = [line[3:] for line in lines if line[:2] != "??" or line[3:].startswith(CODE)]
    if changed:
        raise InputError(f"{several(changed)}: not committed; workers have commits only")
    return _git("rev-parse", "HEAD")


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(f"git {words[0]}: {done.stderr.strip()}")
    return done.stdout.rstrip()


def cells_of(waits: Mapping[str, Collection[str]]) -> list[Cell]:
    """The cells for these stages, in their order."""
    from dvc.repo import Repo
    from dvc.utils.serialize import load_yaml

    with Repo() as repo:
        lock = Path("dvc.lock")
        entries: dict[str, Any] = load_yaml(str(lock))["stages"] if lock.exists() else {}
        reads = {
            stage.addressing: sorted(each.addressing for each in repo.index.graph.successors(stage))
            for stage in repo.index.graph
            if stage.addressing in waits
        }
    return [Cell(stage, {each: entries[each] for each in reads[stage] if each not in waits[stage]}) for stage in waits]


def source_of(commit: str, remote: bool, folder: Path | None) -> Source:
    """remote: whether results travel over DVC's default remote; else all machines see this clone."""
    clone = Path().resolve()
    store = place()
    environment = {VARIABLE: store.uri} if store.is_server else {}
    if not remote:
        # Checkpoints, and files that a setting names by a relative path, are those of this clone (base/results.py).
        environment["DVC_ROOT"] = str(clone)
    return Source(
        commit=commit,
        clone=clone,
        bundle=_bundle() if remote else None,
        folder=folder or (FAR if remote else clone / FOLDER),
        config=_config(remote),
        environment=environment,
        versions=_versions(),
    )


def _bundle() -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder, "bundle")
        _git("bundle", "create", "--quiet", str(path), "HEAD")
        return path.read_bytes()


def _config(remote: bool) -> str:
    """DVC's settings for workers: this clone's cache, or its default remote with all that is said of that."""
    from dvc.repo import Repo

    with Repo() as repo:
        if not remote:
            cache = {"dir": repo.cache.legacy.path, "type": ",".join(repo.config["cache"].get("type", []))}
            return _section("cache", cache)
        name = repo.config["core"].get("remote")
        if name is None:
            raise InputError("--remote: DVC has no default remote; dvc remote add --local --default NAME URL names one")
        return _section("core", {"remote": name}) + _section(f"'remote \"{name}\"'", repo.config["remote"][name])


def _section(name: str, values: Mapping[str, Any]) -> str:
    lines = [f"    {key} = {value}" for key, value in values.items() if value not in ("", None)]
    return "\n".join([f"[{name}]", *lines, ""])


def _versions() -> dict[str, str]:
    """Of Python, and of every package that pyproject.toml names for the pipeline."""
    project = tomllib.loads(Path("pyproject.toml").read_text())
    names = [*project["project"]["dependencies"], *project["dependency-groups"]["pipeline"]]
    found = {name: release(version(name)) for name in (each.partition(">")[0] for each in names)}
    return {"Python": python(), **found}
