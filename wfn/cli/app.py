"""The commands. Each reads what it is given, calls the library and prints."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

import wfn
from wfn.cli import describe
from wfn.cli.errors import InputError, guarded, refusing, say
from wfn.cli.evaluating import evaluated, labelled_folders
from wfn.cli.exporting import check_kind, example_of, export_to
from wfn.cli.networks import described_network
from wfn.cli.predicting import open_network, predicted
from wfn.cli.weights import FORMS, tensors_of
from wfn.files.compare import first_difference
from wfn.files.pictures import find_pictures
from wfn.files.tensors.errors import printable
from wfn.files.writing import write_safetensors

app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)

File = Annotated[str, Argument(help="A packed file, or hf-hub:owner/name.", show_default=False)]


@app.callback(invoke_without_command=True)
def options(version: Annotated[bool, Option("--version", help="Say the version.")] = False) -> None:
    """Networks of few values as small files: pack, look into, use and pass on."""
    if version:
        typer.echo(f"weight-fixing {wfn.__version__}")
        raise typer.Exit


@app.command()
@guarded
def pack(
    weights: Annotated[Path, Argument(help=f"Tensors by name: {FORMS}.")],
    out: Annotated[Path, Argument(help="The packed file.")],
    network: Annotated[
        str | None, Option(help="A timm model that these are the weights of, or a .json file as docs/format.md says.")
    ] = None,
    classes: Annotated[Path | None, Option(help="Names of the classes, one a line, in the outputs' order.")] = None,
) -> None:
    """Pack the weights of a network."""
    with refusing():
        state = tensors_of(weights)
        told = described_network(network, state, classes)
        wfn.pack(state, out, network=told)
    contents = wfn.inspect(out, limit=sum(tensor.nbytes for tensor in state.values()))
    ratio = describe.float32_bytes(contents) / contents.bytes
    typer.echo(f"{out}: {contents.bytes:,} bytes, {ratio:.2f} x smaller than float32")
    weight_count = int(contents.usage.sum())
    typer.echo(f"{len(contents.codebook):,} values for {weight_count:,} weights, {contents.entropy:.3f} bits a weight")


@app.command()
@guarded
def unpack(file: File, out: Annotated[Path, Argument(help="A .safetensors file.")]) -> None:
    """Write the tensors of a packed file as safetensors."""
    if out.suffix != ".safetensors":
        raise InputError(f"{out}: the name must end in .safetensors")
    state = wfn.unpack(file)
    typer.echo(f"{out}: {len(state)} tensors, {write_safetensors(state, out):,} bytes")


@app.command()
@guarded
def inspect(file: File, as_json: Annotated[bool, Option("--json", help="All of it, for programs.")] = False) -> None:
    """Show the tensors of a packed file, their values, entropy and bytes, and the values used most."""
    contents = wfn.inspect(file)
    if as_json:
        typer.echo(json.dumps(describe.as_json(contents), indent=2))
    else:
        typer.echo(describe.as_text(contents, shutil.get_terminal_size().columns))


@app.command()
@guarded
def verify(
    file: File,
    against: Annotated[Path | None, Option(help=f"Weights that it must hold, bit by bit: {FORMS}.")] = None,
) -> None:
    """Decode and check all of a packed file. Exit code 1: differs; 2: damaged, or cannot be read."""
    found = wfn.unpack(file)
    if against is not None:
        with refusing():
            difference = first_difference(found, tensors_of(against))
        if difference is not None:
            typer.echo(f"{file} differs from {against}: {printable(difference)}")
            raise typer.Exit(1)
    typer.echo(f"{file}: whole, {len(found)} tensors" + (f", to the bit those of {against}" if against else ""))


@app.command()
@guarded
def predict(
    file: File,
    pictures: Annotated[list[Path], Argument(help="Pictures, and folders of pictures.")],
    top: Annotated[int, Option(min=1, help="How many classes to name for each.")] = 3,
) -> None:
    """Name the classes of pictures, with their probabilities. Exit code 2 where one could not be read."""
    network, paths = open_network(file), find_pictures(pictures)
    failed = False
    for batch in predicted(network, paths):
        for problem in batch.problems:
            say(problem)
            failed = True
        for place, probabilities in zip(batch.places, batch.logits.softmax(-1), strict=True):
            best = probabilities.topk(min(top, len(probabilities)))
            named = [
                f"{printable(network.classes[number]) if network.classes else number} {share:.1%}"
                for number, share in zip(best.indices.tolist(), best.values.tolist(), strict=True)
            ]
            typer.echo(f"{paths[place]}: {', '.join(named)}")
    if failed:
        raise typer.Exit(2)


@app.command()
@guarded
def evaluate(
    file: File,
    data: Annotated[
        Path, Argument(help="A folder with a folder of pictures per class, or with val/, test/ or the like of those.")
    ],
) -> None:
    """Measure top-1 and top-5. Exit code 2 where a picture could not be read."""
    network = open_network(file)
    folders, matched = labelled_folders(data, network)
    typer.echo(matched, err=True)
    problems: list[str] = []
    score = evaluated(network, folders, problems.append)
    for problem in problems:
        say(problem)
    typer.echo(f"top-1       {score.top1:.2%}\ntop-5       {score.top5:.2%}")
    typer.echo(f"pictures    {score.pictures:,}")
    typer.echo(f"per second  {score.pictures / score.seconds:.1f}, reading them included")
    if problems:
        raise typer.Exit(2)


@app.command()
@guarded
def export(
    file: File,
    out: Annotated[Path, Argument(help="A file ending in .onnx, .pt2 (torch.export) or .mlpackage (Core ML).")],
    plain: Annotated[bool, Option("--plain", help="Floating-point numbers in place of codebook and indices.")] = False,
    pictures: Annotated[Path | None, Option(help="A folder of pictures that the result is checked on.")] = None,
) -> None:
    """Write the network for other programs, checked against the packed one."""
    check_kind(out, plain)
    network = open_network(file)
    if pictures is None:
        typer.echo("checked on noise: --pictures FOLDER has it checked on pictures", err=True)
    report = export_to(out, network, example_of(network, pictures), plain)
    typer.echo(f"{out}: {report.bytes:,} bytes, {report.float_bytes / report.bytes:.2f} x smaller than float32")
    if report.difference is not None:
        typer.echo(f"largest difference of logits {report.difference:.1e}, top-1 the same for {report.agreement:.0%}")


@app.command()
@guarded
def push(
    file: Annotated[Path, Argument(help="A packed file.")],
    repository: Annotated[str, Argument(help="owner/name on the Hugging Face hub.")],
    private: Annotated[bool, Option("--private", help="A repository that only its owner sees.")] = False,
    licence: Annotated[str | None, Option(help="The licence of the weights, as apache-2.0.")] = None,
    with_weights: Annotated[bool, Option("--with-weights", help="model.safetensors too, which timm loads.")] = False,
) -> None:
    """Publish a packed network, with a page that says what it is. The token is that of HF_TOKEN or `hf auth login`."""
    from wfn import hub

    with refusing():
        address = hub.push(file, repository, private=private, licence=licence, with_weights=with_weights)
    typer.echo(f'{address}\nload it: wfn.load("hf-hub:{repository}")')
