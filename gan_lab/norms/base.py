"""Weight norms: what they promise, and how they are put on the layers of a finished net.

A norm is a settings object with one method, `apply(module)`. It goes over the convolutions, transposed convolutions and
Linears of `module` and registers a `torch.nn.utils.parametrize` parametrization of each weight. So `state_dict`,
`copy.deepcopy` and `parametrize.cached()` work as for any module.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
WEIGHT_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, *TRANSPOSED)
AnyModule = TypeVar("AnyModule", bound=nn.Module)


class Norm(Protocol):
    """What `apply_weight_norm` expects of a norm."""

    def apply(self, module: nn.Module) -> nn.Module: ...


def apply_weight_norm(module: nn.Module, norm: Norm | None) -> nn.Module:
    """Put `norm` on every weight layer of `module`, itself included, in place; None changes nothing."""
    return module if norm is None else norm.apply(module)


def weight_layers(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield (name, layer) of every layer whose weight a norm applies to, each once; "" names `module` itself."""
    for name, layer in module.named_modules():
        if isinstance(layer, WEIGHT_LAYERS):
            yield name, layer


def check_own_weights(module: nn.Module) -> None:
    """Raise ValueError for a layer whose weight another module uses too, or that is parametrized already.

    For norms that store another tensor than the weight: each layer would get its own, or store that of the other.
    """
    owners = Counter(id(tensor) for part in module.modules() for tensor in part._parameters.values())
    for name, layer in weight_layers(module):
        named = f"the layer {name!r}" if name else "the layer itself"
        if parametrize.is_parametrized(layer, "weight"):
            raise ValueError(f"{named} already has a norm, or another parametrization, of its weight")
        if owners[id(layer.weight)] > 1:
            raise ValueError(f"{named} shares its weight with another module, which this norm cannot keep")


def out_dim(layer: nn.Module) -> int:
    """Return the weight's dimension of output channels: 1 for transposed convolutions (c_in c_out kh kw), else 0."""
    return 1 if isinstance(layer, TRANSPOSED) else 0


def fan_in(layer: nn.Module) -> int:
    """Return the number of inputs of one output: c_in / groups * kernel area, whatever the stride."""
    weight: Tensor = layer.weight  # type: ignore[assignment]
    if out_dim(layer) == 0:
        return weight[0].numel()
    return weight.shape[0] // int(layer.groups) * weight[0, 0].numel()  # type: ignore[arg-type]


def effective_weights(module: nn.Module) -> dict[str, Tensor]:
    """Return layer name -> the weight that its forward uses, with its graph. Advances no power iteration."""
    return {name: layer.weight for name, layer in weight_layers(module)}  # type: ignore[misc]


def at_least_float32(x: Tensor) -> Tensor:
    """Return bf16 and fp16 as fp32, fp32 and fp64 as they are."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


@torch.no_grad()
def bake(module: AnyModule) -> AnyModule:
    """Replace every parametrized tensor of `module` by its present value, in place: a plain net, ready to export.

    A frozen weight stays frozen. Copies of the net are left as they are. (torch's `remove_parametrizations` changes the
    layer's class, which a `copy.deepcopy` shares, and so breaks them.)
    """
    for part in list(module.modules()):
        if parametrize.is_parametrized(part):
            chains: Any = part.parametrizations
            values = {}
            for name, chain in chains.items():
                trained = any(p.requires_grad for p in chain.parameters())
                values[name] = nn.Parameter(chain().clone(), trained)  # not from torch's cache, which threads share
            del part.parametrizations
            part.__class__ = type(part).__bases__[0]  # the layer's class before it was parametrized
            for name, value in values.items():
                part.register_parameter(name, value)
    return module
