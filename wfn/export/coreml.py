"""Core ML, with a palette for each weight."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wfn.export.checks import ExportError, Report, cause, compare_values, need
from wfn.export.coding import repeating
from wfn.export.tracing import Subject, trace, used_parameters
from wfn.packed.replacing import replacing

PALETTE = 2**8
SMALLEST = 1024  # weights with fewer elements are not worth a palette
# Passes that compute new weights from several parameters: no value would stay.
FUSING = ("common::fuse_conv_batchnorm", "common::fuse_conv_scale", "common::fuse_conv_bias")


def to_coreml(model: nn.Module, path: str | os.PathLike[str], example: Tensor) -> Report:
    """Write a network as a Core ML program (.mlpackage) for iOS 18, macOS 15 and later: float32, one input at a time.

    example: inputs [N, ...] as the network takes them. Every weight of a convolution or linear layer that takes few
    values has a palette of its own: Core ML has none that several share. Everything else stays float.

    Checked: every such weight is in the package as a palette with indices that give the same bits. Not checked: its
    predictions, which only macOS can make, so `difference` and `agreement` are None.

    Raises ExportError for a check that fails, for a repeating weight of more than 256 values, for a network in which
    there is nothing to put into palettes, and for one that cannot be converted; ModuleNotFoundError without
    coremltools. `path` is then what it was.
    """
    need("`pip install coremltools`", "coremltools")
    path = Path(path)
    if path.suffix != ".mlpackage":
        raise ExportError(f"path = {path}: the name must end in .mlpackage")
    with replacing(path, package=True) as partial:
        subject = Subject(model, example)
        program = trace(subject.network, subject.example[:1], free_batch=False)
        weights = _for_palettes(used_parameters(program))
        try:
            _convert(program.run_decompositions({})).save(str(partial))
        except Exception as error:
            raise ExportError(f"coremltools cannot convert the network: {cause(error)}") from error
        compare_values(weights, _matching(weights, _palettes(partial)))
        size = sum(each.stat().st_size for each in partial.rglob("*") if each.is_file())
    longest = max(len(values.unique()) for values in weights.values())
    return Report(size, subject.float_bytes, longest, tuple(weights), None, None)


def _for_palettes(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights that repeat few values, by name."""
    weights = {name: each for name, each in parameters.items() if each.ndim > 1 and each.numel() > SMALLEST}
    distinct = {name: len(values.unique()) for name, values in weights.items()}
    sizes = {name: values.numel() for name, values in weights.items()}
    for name in repeating(distinct, sizes, torch.uint16):
        if distinct[name] > PALETTE:
            raise ExportError(f"{name}: {distinct[name]:,} distinct values; allowed in Core ML: at most {PALETTE}")
    names = repeating(distinct, sizes, torch.uint8)
    if not names:
        raise ExportError("palettes: no weight repeats its values; use the plain float export of coremltools")
    return {name: weights[name] for name in names}


def _convert(program: torch.export.ExportedProgram) -> Any:
    import coremltools
    from coremltools.optimize.coreml import OpPalettizerConfig, OptimizationConfig, palettize_weights

    passes = coremltools.PassPipeline.DEFAULT
    passes.remove_passes(FUSING)
    converted = coremltools.convert(
        program,
        convert_to="mlprogram",
        minimum_deployment_target=coremltools.target.iOS18,
        compute_precision=coremltools.precision.FLOAT32,
        pass_pipeline=passes,
        skip_model_load=True,
    )
    palettes = OpPalettizerConfig(mode="unique", weight_threshold=SMALLEST)
    return palettize_weights(converted, OptimizationConfig(global_config=palettes))


def _palettes(path: Path) -> list[Tensor]:
    """All weights of a package that are palettes with indices, as the values that they stand for."""
    import coremltools
    from coremltools.optimize.coreml import get_weights_metadata

    package = coremltools.models.MLModel(str(path), skip_model_load=True)
    stored: dict[str, NDArray[Any]] = {
        name: each.val for name, each in get_weights_metadata(package, weight_threshold=1).items()
    }
    found = []
    for name, indices in stored.items():
        palette = stored.get(name.replace("_palettized_indices", "_palettized_lut"))
        if "_palettized_indices" in name and palette is not None:
            found.append(torch.from_numpy(palette.reshape(-1)[indices.astype(np.int64)]))
    return found


def _matching(weights: Mapping[str, Tensor], palettes: list[Tensor]) -> dict[str, Tensor]:
    """For each weight the stored one that is equal to it: packages have other names, and equal weights once."""
    return {
        name: found
        for name, values in weights.items()
        if (found := next((each for each in palettes if torch.equal(each, values)), None)) is not None
    }
