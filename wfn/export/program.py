"""torch.export: a plain module that holds indices and one table, and looks its weights up in them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.func import functional_call

from wfn.export.checks import ExportError, Report, compare_logits, compare_values
from wfn.export.coding import Coding, code
from wfn.export.tracing import Subject, trace, used_parameters
from wfn.packed.replacing import replacing


class Coded(nn.Module):
    """A network whose coded parameters have become buffers of indices under the same names.

    codebook: the table [k], float32. network: the network, which this takes over and changes.
    """

    codebook: Tensor

    def __init__(self, network: nn.Module, coding: Coding) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("codebook", coding.table)
        by_parameter = {id(network.get_parameter(name)): indices for name, indices in coding.indices.items()}
        self.coded: list[str] = []
        for name, parameter in list(network.named_parameters(remove_duplicate=False)):
            if id(parameter) in by_parameter:
                owner, _, leaf = name.rpartition(".")
                module = network.get_submodule(owner)
                delattr(module, leaf)
                module.register_buffer(leaf, by_parameter[id(parameter)])
                self.coded.append(name)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits [N, ..., classes] of inputs [N, ...]."""
        weights = {name: self.codebook[self.network.get_buffer(name).to(torch.int32)] for name in self.coded}
        return functional_call(self.network, weights, (inputs,), tie_weights=False)


def to_exported_program(model: nn.Module, path: str | os.PathLike[str], example: Tensor) -> Report:
    """Write a network as a program of torch.export (.pt2), which `torch.export.load` loads without this package.

    Its state is `codebook`, the table [k], and the network's own below `network.`: parameters that take few values as
    uint8 indices, or uint16 for more than 256 values. Arguments, checks and errors as of `to_onnx`.
    """
    path = Path(path)
    if path.suffix != ".pt2":
        raise ExportError(f"path = {path}: the name must end in .pt2")
    with replacing(path) as partial:
        subject = Subject(model, example)
        parameters = used_parameters(trace(subject.network, subject.example))
        coding = code(parameters)
        _save(trace(Coded(subject.network, coding), subject.example), partial)
        program = torch.export.load(partial)
        compare_values(parameters, _stored_values(program.state_dict, parameters))
        with torch.no_grad():
            difference, agreement = compare_logits(subject.logits, program.module()(subject.example))
        size = partial.stat().st_size
    return Report(size, subject.float_bytes, len(coding.table), tuple(coding.indices), difference, agreement)


def _save(program: torch.export.ExportedProgram, path: Path) -> None:
    """Write a program without the examples that it was traced with, and the source lines of who exported it."""
    program.example_inputs = None
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    with path.open("wb") as file:  # given a path, it would put that name inside
        torch.export.save(program, file)


def _stored_values(state: Mapping[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
    """What a program's state has for the parameters of these names; those it lacks are left out."""
    found = {name: state[f"network.{name}"] for name in names if f"network.{name}" in state}
    table = state["codebook"]
    return {
        name: values if values.is_floating_point() else table[values.to(torch.int32)] for name, values in found.items()
    }
