"""ONNX, with the codebook inside or as plain floats."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from wfn.export.checks import ExportError, Report, cause, compare_logits, compare_values, need
from wfn.export.coding import Coding, code
from wfn.export.tracing import Subject, trace, used_parameters
from wfn.packed.replacing import replacing

if TYPE_CHECKING:
    import onnx
    from torch.export import ExportedProgram

INPUT, OUTPUT, BATCH = "input", "logits", "batch"
TABLE, INDICES, WIDE = "codebook", "{}.indices", "{}.wide_indices"


def to_onnx(model: nn.Module, path: str | os.PathLike[str], example: Tensor, *, codebook: bool = True) -> Report:
    """Write a network as ONNX, and check the file before it gets its name.

    example: inputs [N, ...] as the network takes them, real ones: the checks are made on them. The file takes any
    number of them as `input` and gives `logits`. It computes in float32; parameters of float16 and bfloat16 have the
    same values there, those of float64 must have. The model stays as it is; what is exported is its eval mode.

    codebook: parameters that take few values are indices (one byte, or two for more than 256 values) into one table
    that all share; the others, and all without it, are floats. The file is smaller, the memory of who runs it is not.

    Checked: every parameter that the network computes with is there by its name (tied ones by one of theirs), with as
    many distinct values and the same bits; the model is valid ONNX; ONNX Runtime gives logits within 1e-4 of torch's,
    relative to max(1, |logit|), and the same top-1 for every example.

    Raises ExportError for a check that fails, for more than 65,536 values, where a codebook saves less than a tenth,
    and for a network that cannot be exported; ModuleNotFoundError without the extra `onnx`. `path` is then what it was.
    """
    need("the extra weight-fixing[onnx]", "onnx", "onnxscript", "onnxruntime")
    with replacing(Path(path)) as partial:
        subject = Subject(model, example)
        program = trace(subject.network, subject.example)
        parameters = used_parameters(program)
        taken = {INPUT, OUTPUT, TABLE}.intersection(parameters)
        if taken:
            raise ExportError(f"{min(taken)}: a parameter cannot have that name in the file; rename it")
        coding = code(parameters) if codebook else Coding(torch.empty(0), {})
        content = _converted(program)
        _put_codebook_(content.graph, coding)
        partial.write_bytes(content.SerializeToString())
        compare_values(parameters, _stored_values(partial, parameters))
        logits = _compute(str(partial), [OUTPUT], {INPUT: subject.example})[OUTPUT]
        difference, agreement = compare_logits(subject.logits, logits)
        size = partial.stat().st_size
    return Report(size, subject.float_bytes, len(coding.table), tuple(coding.indices), difference, agreement)


def _converted(program: ExportedProgram) -> onnx.ModelProto:
    """The graph as ONNX. Not optimised: that would fold batch-norm into convolutions, and no value would stay."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter's own age; the result is checked
            exported = torch.onnx.export(
                program, (), optimize=False, verbose=False, input_names=[INPUT], output_names=[OUTPUT]
            )
        assert exported is not None
        content = exported.model_proto
    except Exception as error:
        raise ExportError(f"torch.onnx cannot convert the network: {cause(error)}") from error
    graph = content.graph
    for each in (content, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        each.ClearField("metadata_props")  # the source lines of who exported it
    graph.ClearField("value_info")
    batch = graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for value in (*graph.input, *graph.output):
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param == batch:
                dimension.dim_param = BATCH
    return content


def _put_codebook_(graph: onnx.GraphProto, coding: Coding) -> None:
    """In place of the floats of every coded parameter: its indices, made wider, and the table's values at them."""
    from onnx import TensorProto, helper, numpy_helper

    if not coding.indices:
        return
    kept = [each for each in graph.initializer if each.name not in coding.indices]
    nodes: list[onnx.NodeProto] = []
    kept.append(numpy_helper.from_array(coding.table.numpy(), TABLE))
    for name, indices in coding.indices.items():
        narrow, wide = INDICES.format(name), WIDE.format(name)
        kept.append(numpy_helper.from_array(indices.numpy(), narrow))
        nodes.append(helper.make_node("Cast", [narrow], [wide], to=TensorProto.INT32))
        nodes.append(helper.make_node("Gather", [TABLE, wide], [name]))
    nodes += graph.node
    graph.ClearField("initializer")
    graph.ClearField("node")
    graph.initializer.extend(kept)
    graph.node.extend(nodes)


def _stored_values(path: Path, names: Iterable[str]) -> dict[str, Tensor]:
    """What a file has for the parameters of these names, as ONNX Runtime computes them; those it lacks are left out.

    Raises ExportError for a file that is not valid ONNX.
    """
    import onnx

    try:
        onnx.checker.check_model(path, full_check=True)
    except Exception as error:
        raise ExportError(f"not valid ONNX: {cause(error)}") from error
    content = onnx.load(path)
    graph = content.graph
    known = {each.name for each in graph.initializer}.union(*(node.output for node in graph.node))
    present = [name for name in names if name in known]
    needed, nodes = set(present), list[onnx.NodeProto]()
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            nodes.insert(0, node)
    initializers = [each for each in graph.initializer if each.name in needed]
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in present]
    part = onnx.helper.make_graph(nodes, "parameters", [], values, initializers)
    decoder = onnx.helper.make_model(part, opset_imports=content.opset_import, ir_version=content.ir_version)
    return _compute(decoder.SerializeToString(), present, {})


def _compute(model: str | bytes, outputs: Iterable[str], inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Outputs of a model, the path or content of a file, by name, from ONNX Runtime on the CPU.

    Raises ExportError for a model that it does not run.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    names = list(outputs)
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        found = session.run(names, {name: each.numpy() for name, each in inputs.items()})
    except Exception as error:
        raise ExportError(f"ONNX Runtime cannot run the file: {cause(error)}") from error
    return {name: torch.from_numpy(np.array(value)) for name, value in zip(names, found, strict=True)}
