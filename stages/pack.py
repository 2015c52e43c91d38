"""Stage `pack`: every fixed or quantised network as a packed file, to take home."""

from pipeline.base.results import CARD, all_or_nothing, read_json, to_json, writable, write_files
from pipeline.base.settings import load_settings
from pipeline.packing.names import LIST, packed_name
from pipeline.packing.packing import pack_run
from stages.common.cli import Out, Runs, run
from stages.common.folders import DATA, PACKED, RUNS, all_runs, is_float
from stages.common.made import read_made


def pack(runs: Runs = None, out: Out = None) -> None:
    """Pack every network but the float ones, and read each file back."""
    settings = load_settings()
    runs, out = runs or RUNS / settings.profile, writable(out or PACKED / settings.profile)
    card = read_json(runs / DATA / CARD)
    packed = [made for made in all_runs(settings) if not is_float(made, settings)]
    listed = {}
    with all_or_nothing(out) as staging:
        for number, made in enumerate(packed, 1):
            found, name = read_made(runs, made, settings, card), packed_name(made.folder)
            listed[str(made.folder)] = entry = {"file": str(name), **pack_run(found, card, staging / name)}
            ratio = found.metrics["float_bytes"] / entry["bytes"]
            note = "" if entry["network"] else ", tensors only: timm alone cannot build this network"
            size = f"{entry['bytes'] / 1e6:.2f} MB, {ratio:.1f} x smaller"
            print(f"pack: {number} of {len(packed)}: {out / name}, {size}{note}", flush=True)
        write_files(staging, {LIST: to_json(listed)})


if __name__ == "__main__":
    run(pack)
