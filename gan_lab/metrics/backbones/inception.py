"""The Inception-v3 of the FID papers (the 2015-12-05 graph) from torch-fidelity's weights, made for speed.

Equal to torch-fidelity's network up to rounding, with fewer operations: BatchNorm is folded into the
convolutions; all 1x1 convolutions at the head of a block are one; the one behind an average pool goes before
it, where it commutes (the pool ignores its padding, so it averages the bias to itself); the TF1 bilinear
resize to 299 is two matrix products; memory is channels-last; and nothing behind the wanted tap is computed.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SIDE = 299
TAPS = ("64", "192", "768", "2048", "logits")
NUM_FEATURES = {"64": 64, "192": 192, "768": 768, "2048": 2048, "logits": 1008}
BN_EPS = 1e-3

# A branch is a chain of convolutions; "/2": stride 2 without padding, "a|b": two side by side; "avg", "max":
# pools.
_E = ("branch1x1", "branch3x3_1 branch3x3_2a|branch3x3_2b",
      "branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3a|branch3x3dbl_3b")  # fmt: skip
_KINDS = {
    "A": ("branch1x1", "branch5x5_1 branch5x5_2",
          "branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3", "avg branch_pool"),
    "B": ("branch3x3/2", "branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3/2", "max/2"),
    "C": ("branch1x1", "branch7x7_1 branch7x7_2 branch7x7_3",
          "branch7x7dbl_1 branch7x7dbl_2 branch7x7dbl_3 branch7x7dbl_4 branch7x7dbl_5", "avg branch_pool"),
    "D": ("branch3x3_1 branch3x3_2/2", "branch7x7x3_1 branch7x7x3_2 branch7x7x3_3 branch7x7x3_4/2", "max/2"),
    "E": (*_E, "avg branch_pool"),
    "F": (*_E, "max branch_pool"),  # the graph of 2015 has a maximum in its last block
}  # fmt: skip
# Up to each tap: plain convolutions (with their stride, "v": without padding), pools, and blocks with their
# kind.
_STAGES: dict[str, tuple[tuple[str, str], ...]] = {
    "64": (("Conv2d_1a_3x3", "/2"), ("Conv2d_2a_3x3", "v"), ("Conv2d_2b_3x3", ""), ("max/2", "")),
    "192": (("Conv2d_3b_1x1", ""), ("Conv2d_4a_3x3", "v"), ("max/2", "")),
    "768": (("Mixed_5b", "A"), ("Mixed_5c", "A"), ("Mixed_5d", "A"), ("Mixed_6a", "B"),
            ("Mixed_6b", "C"), ("Mixed_6c", "C"), ("Mixed_6d", "C"), ("Mixed_6e", "C")),
    "2048": (("Mixed_7a", "D"), ("Mixed_7b", "E"), ("Mixed_7c", "F")),
}  # fmt: skip
_PARTS = ("conv.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var")


def _convolutions(name: str, kind: str) -> list[str]:
    if kind not in _KINDS:
        return [] if name.startswith("max") else [name]
    words = " ".join(_KINDS[kind]).replace("|", " ").replace("/2", "").split()
    return [f"{name}.{word}" for word in words if word not in ("avg", "max")]


def layers_of(tap: str) -> list[str]:
    """Names of the layers between the previous tap and this one."""
    if tap == "logits":
        return ["fc"]
    return [conv for stage in _STAGES[tap] for conv in _convolutions(*stage)]


def keys_of(layer: str) -> list[str]:
    """The entries that a layer needs of the weights file."""
    return ["fc.weight"] if layer == "fc" else [f"{layer}.{part}" for part in _PARTS]


class _Conv(nn.Module):
    """A convolution with its BatchNorm folded in, without the ReLU."""

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor, stride: int = 1, valid: bool = False) -> None:
        super().__init__()
        self.register_buffer("weight", weight.contiguous(memory_format=torch.channels_last))
        self.register_buffer("bias", bias)
        self.stride = stride
        self.padding = (0, 0) if valid else (weight.shape[2] // 2, weight.shape[3] // 2)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding)


def _folded(state: Mapping[str, Tensor], name: str) -> tuple[Tensor, Tensor]:
    """Weight and bias of `name` with BatchNorm folded in, computed in float64."""
    weight, gain, bias, mean, var = (state[key].double() for key in keys_of(name))
    scale = gain / (var + BN_EPS).sqrt()
    return (weight * scale[:, None, None, None]).float(), (bias - mean * scale).float()


def _make(state: Mapping[str, Tensor], name: str, mark: str = "") -> _Conv:
    return _Conv(*_folded(state, name), stride=2 if mark == "/2" else 1, valid=mark in ("/2", "v"))


def _average(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


class _Branch(nn.Module):
    """The rest of a branch behind its shared head; a step of two convolutions concatenates them."""

    def __init__(self, state: Mapping[str, Tensor], block: str, words: list[str]) -> None:
        super().__init__()
        self.steps = nn.ModuleList()
        for word in words:
            mark = "/2" if word.endswith("/2") else ""
            names = word.removesuffix("/2").split("|")
            self.steps.append(nn.ModuleList([_make(state, f"{block}.{name}", mark) for name in names]))

    def forward(self, x: Tensor) -> Tensor:
        for step in self.steps:
            parts = [F.relu_(conv(x)) for conv in step]  # type: ignore[attr-defined]
            x = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        return x


class _Block(nn.Module):
    """One Mixed block: its 1x1 heads as one convolution, then the branches, in the graph's order."""

    def __init__(self, state: Mapping[str, Tensor], name: str, kind: str) -> None:
        super().__init__()
        heads, self.plan, self.branches = [], [], nn.ModuleList()
        for branch in _KINDS[kind]:
            words = branch.split()
            pool = words.pop(0) if words[0] in ("avg", "max", "max/2") else ""
            first = _folded(state, f"{name}.{words[0].removesuffix('/2')}") if words else None
            shares = first is not None and first[0].shape[2:] == (1, 1) and pool != "max"
            if shares and first is not None:
                heads.append(first)
                words = words[1:]
            self.plan.append((pool, shares))
            self.branches.append(_Branch(state, name, words))
        self.widths = [len(bias) for _, bias in heads]
        self.heads = _Conv(torch.cat([w for w, _ in heads]), torch.cat([b for _, b in heads])) if heads else None

    def forward(self, x: Tensor) -> Tensor:
        heads = iter(self.heads(x).split(self.widths, dim=1)) if self.heads is not None else iter(())
        parts = []
        for (pool, shares), branch in zip(self.plan, self.branches, strict=True):
            y = next(heads) if shares else x
            if pool == "avg":
                y = _average(y)
            elif pool:
                y = F.max_pool2d(y, 3, 2) if pool == "max/2" else F.max_pool2d(y, 3, 1, 1)
            parts.append(branch(F.relu(y) if shares else y))
        return torch.cat(parts, dim=1)


@lru_cache(maxsize=16)
def _resize_matrix(size: int, device: torch.device) -> Tensor:
    """TF1's bilinear resize of one side as a matrix (299 size): source i * size/299, without antialias."""
    position = torch.arange(SIDE, dtype=torch.float32) * torch.tensor(size / SIDE, dtype=torch.float32)
    low = position.long()
    high = (low + 1).clamp_max(size - 1)
    weight = position - low
    matrix = torch.zeros(SIDE, size)
    matrix.scatter_add_(1, low[:, None], 1 - weight[:, None])
    matrix.scatter_add_(1, high[:, None], weight[:, None])
    return matrix.to(device)


def resize(x: Tensor) -> Tensor:
    """Float images (n c h w) to 299 x 299 as TensorFlow 1 does it, channels-last."""
    rows, columns = _resize_matrix(x.shape[2], x.device), _resize_matrix(x.shape[3], x.device)
    return (rows @ (x @ columns.T)).contiguous(memory_format=torch.channels_last)


class InceptionFID(nn.Module):
    """forward(uint8 n 3 h w) -> {"features": n d, "logits": n 1008 for the taps 2048 and logits}.

    state: torch-fidelity's state dict, of which only the layers up to `tap` are read. Logits are without the
    bias of the last layer, as the inception score of the TensorFlow graph is defined on them.
    """

    def __init__(self, state: Mapping[str, Tensor], tap: str) -> None:
        super().__init__()
        if tap not in TAPS:
            raise ValueError(f"tap must be one of {', '.join(TAPS)}, not '{tap}'")
        self.tap = tap
        self.layers = nn.ModuleList()
        for name, stages in _STAGES.items():
            for layer, mark in stages:
                if layer == "max/2":
                    self.layers.append(nn.MaxPool2d(3, 2))
                elif mark in _KINDS:
                    self.layers.append(_Block(state, layer, mark))
                else:
                    self.layers.append(nn.Sequential(_make(state, layer, mark), nn.ReLU(inplace=True)))
            if name == tap:
                break
        self.register_buffer("fc", state["fc.weight"].float() if tap in ("2048", "logits") else None)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"expected uint8 images (n, 3, h, w), not {images.dtype} {tuple(images.shape)}")
        x = resize(
            (images.float() - 128) / 128
        )  # the resize's rows sum to 1: scaling first is the same, on fewer pixels
        for layer in self.layers:
            x = layer(x)
        features = x.mean(dim=(2, 3))
        if self.fc is None:
            return {"features": features}
        logits = features @ self.fc.T  # type: ignore[operator]
        return {"features": logits if self.tap == "logits" else features, "logits": logits}
