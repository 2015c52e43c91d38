"""Stage `pack`: every fixed or quantised network as a packed file, to take home."""

import json
from pathlib import Path
from typing import Annotated

import safetensors.torch
from typer import Option

from pipeline.base.results import CARD, WEIGHTS, read_run, to_json, write_files
from pipeline.base.settings import load_settings
from pipeline.packing.names import LIST, packed_name
from pipeline.packing.network import metadata_of, network_of
from pipeline.packing.packing import write_packed
from stages.common import folders
from stages.common.cli import run


def pack(
    runs: Annotated[Path, Option(help="Folder with the runs of the profile.")],
    out: Annotated[Path, Option(help="Folder for the packed files, named as the folders of the runs.")],
) -> None:
    """Pack every network but the float ones, and read each file back."""
    settings = load_settings()
    card = json.loads((runs / "data" / CARD).read_text())
    baselines = folders.baseline(), folders.explore_baseline()
    packed = [made for made in folders.all_runs(settings) if made not in baselines]
    listed = {}
    for number, made in enumerate(packed, 1):
        found, state = read_run(runs / made.folder), safetensors.torch.load_file(runs / made.folder / WEIGHTS)
        path, network = out / packed_name(made.folder), network_of(found, card)
        size = write_packed(path, state, network, metadata_of(found, card))
        listed[str(made.folder)] = {
            "file": str(path.relative_to(out)),
            "bytes": size,
            "network": network and network["timm"],
        }
        ratio = found.metrics["float_bytes"] / size
        note = "" if network else ", tensors only: timm alone cannot build this network"
        print(f"pack: {number} of {len(packed)}: {path}, {size / 1e6:.2f} MB, {ratio:.1f} x smaller{note}", flush=True)
    write_files(out, {LIST: to_json(listed)})


if __name__ == "__main__":
    run(pack)
