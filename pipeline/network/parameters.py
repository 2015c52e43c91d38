"""The parameters of a network: their roles, and which of them are fixed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from pipeline.base.errors import InputError
from pipeline.base.metrics import Layer, Role
from pipeline.base.settings import Fixing
from wfn.method.parameters import LAYERS, choose


def layers(model: nn.Module) -> Iterator[Layer]:
    """Every parameter once, with its roles in the network; tied parameters count at their first name."""
    weighted = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    for name, parameter in model.named_parameters():
        owner = name.rpartition(".")[0]
        is_role: dict[Role, bool] = {
            "first": owner in weighted[:1],
            "last": owner in weighted[-1:],
            "downsample": "downsample" in owner,
            "batch_norm": isinstance(model.get_submodule(owner), _BatchNorm),
        }
        roles = frozenset(role for role, holds in is_role.items() if holds)
        yield Layer(name, roles, parameter.detach().cpu().numpy().ravel())


def fixable_parameters(model: nn.Module, fixing: Fixing) -> dict[str, nn.Parameter]:
    """The parameters that are fixed, by name, each once, tied or not (method, section 2).

    layers: weights and biases of convolution, linear and, if wanted, batch-norm modules. all: every other parameter as
    well, such as tokens, embeddings, layer norm and layer scale. Raises InputError where there are none.
    """
    norms = [
        f"{name}.{own}".lstrip(".")
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm)
        for own, _ in module.named_parameters(recurse=False)
    ]
    included = "all" if fixing.parameters == "all" else LAYERS
    try:
        return choose(model, included, () if fixing.fix_batch_norm else norms)
    except ValueError as error:
        raise InputError(f"fixing.parameters = {fixing.parameters}: {error}") from error


def trainable_besides(model: nn.Module, parameters: Sequence[nn.Parameter]) -> list[nn.Parameter]:
    """The trainable parameters of `model` that are not among `parameters`."""
    given = {id(parameter) for parameter in parameters}
    return [each for each in model.parameters() if each.requires_grad and id(each) not in given]


def buffer_bytes(model: nn.Module) -> int:
    """Size of what a network's files have beside its parameters: running statistics and the like."""
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    return sum(value.nbytes for name, value in model.state_dict().items() if name not in parameters)
