"""A network as it is exported: a copy on the CPU in float32 that predicts, and its graph with a free batch size."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from wfn.export.checks import ExportError, cause


class Subject:
    """A copy of a model to export, in float32, and what it makes of the example.

    network: the copy, in eval mode, on the CPU. example: [N, ...]. logits: [N, ..., classes], float32. float_bytes: of
    its parameters and buffers, tied ones once.

    Values of bfloat16 and float16 are the same in float32. Raises ExportError for a float64 parameter that float32
    cannot hold, for an example that is no batch, and for a network that does not return one tensor.
    """

    def __init__(self, model: nn.Module, example: Tensor) -> None:
        if not isinstance(example, Tensor) or example.ndim == 0 or len(example) == 0:
            raise ExportError("example: a tensor [N, ...] of at least one input is needed")
        for name, parameter in model.named_parameters():
            if parameter.dtype == torch.float64 and not torch.equal(parameter.float().double(), parameter):
                raise ExportError(f"{name}: float64 values that float32 does not hold; export model.float()")
            if parameter.is_complex():
                raise ExportError(f"{name}: of type {parameter.dtype}; allowed: real parameters")
        self.network = copy.deepcopy(model).cpu().float().eval()
        self.example = example.detach().cpu()
        if self.example.is_floating_point():
            self.example = self.example.float()
        with torch.no_grad():
            logits = self.network(self.example)
        if not isinstance(logits, Tensor) or logits.ndim < 2 or len(logits) != len(self.example):
            raise ExportError("model: must return one tensor of logits [N, ..., classes]")
        self.logits = logits
        self.float_bytes = sum(each.nbytes for each in [*self.network.parameters(), *self.network.buffers()])


def trace(network: nn.Module, example: Tensor, *, free_batch: bool = True) -> ExportedProgram:
    """The graph of a network for inputs like `example` [N, ...], of any number N or, unless `free_batch`, of just N.

    A free batch is traced with 2 N inputs, so that whoever runs the graph on N has seen another size work.
    Raises ExportError for a network that torch.export cannot follow.
    """
    inputs = torch.cat([example, example]) if free_batch else example
    shapes = ({0: Dim("batch")},) if free_batch else None
    try:
        return torch.export.export(network, (inputs,), dynamic_shapes=shapes)
    except Exception as error:
        raise ExportError(f"torch.export cannot follow the network: {cause(error)}") from error


def used_parameters(program: ExportedProgram) -> dict[str, Tensor]:
    """The float parameters that the graph computes with, by name; of tied ones the name that the graph has for them."""
    names = program.graph_signature.inputs_to_parameters
    used = [
        names[node.name]
        for node in program.graph.nodes
        if node.op == "placeholder" and node.users and node.name in names
    ]
    return {name: program.state_dict[name].detach() for name in used if program.state_dict[name].is_floating_point()}
