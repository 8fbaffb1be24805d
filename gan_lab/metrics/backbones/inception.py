"""A fast Inception-v3 of the FID papers (the 2015-12-05 graph), with torch-fidelity's weights.

It equals torch-fidelity's network up to rounding, with fewer operations:
- BatchNorm is folded into the convolutions.
- All 1x1 convolutions at the start of a block are one convolution. The one after an average pool is moved before it,
  which is the same: the pool ignores its padding, so it leaves the bias unchanged.
- The TF1 bilinear resize to 299 is two matrix products.
- Memory format is channels_last, and layers behind the requested tap are not computed.
"""

from collections.abc import Mapping
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SIDE = 299
TAPS = ("64", "192", "768", "2048", "logits")
NUM_FEATURES = {"64": 64, "192": 192, "768": 768, "2048": 2048, "logits": 1008}
BN_EPS = 1e-3

# A branch is a chain of convolutions. "/2": stride 2 without padding; "a|b": two in parallel; "avg", "max": pools.
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
    "F": (*_E, "max branch_pool"),  # the graph of 2015 has a max pool in its last block
}  # fmt: skip
# Layers up to each tap: convolutions (with their stride; "v": without padding), pools, and blocks with their kind.
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
    """Return the names of the layers between the previous tap and this one."""
    if tap == "logits":
        return ["fc"]
    return [conv for stage in _STAGES[tap] for conv in _convolutions(*stage)]


def keys_of(layer: str) -> list[str]:
    """Return the entries of the weights file that belong to a layer."""
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
    """Fold BatchNorm into weight and bias of `name`, in float64."""
    weight, gain, bias, mean, var = (state[key].double() for key in keys_of(name))
    scale = gain / (var + BN_EPS).sqrt()
    return (weight * scale[:, None, None, None]).float(), (bias - mean * scale).float()


def _make(state: Mapping[str, Tensor], name: str, mark: str = "") -> _Conv:
    return _Conv(*_folded(state, name), stride=2 if mark == "/2" else 1, valid=mark in ("/2", "v"))


class _Branch(nn.Module):
    """The layers of a branch behind its 1x1 head. Parallel convolutions are concatenated."""

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
    """A Mixed block: all 1x1 heads as one convolution, then the branches, in the order of the graph."""

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
                y = F.avg_pool2d(y, 3, 1, 1, count_include_pad=False)
            elif pool:
                y = F.max_pool2d(y, 3, 2) if pool == "max/2" else F.max_pool2d(y, 3, 1, 1)
            parts.append(branch(F.relu(y) if shares else y))
        return torch.cat(parts, dim=1)


@lru_cache(maxsize=16)
def _resize_matrix(size: int, device: torch.device) -> Tensor:
    """Return the matrix (299 size) of TF1's bilinear resize along one axis: source i * size / 299, no antialias."""
    with torch.inference_mode(False):  # it is kept, and later images may want gradients
        position = torch.arange(SIDE, dtype=torch.float32) * torch.tensor(size / SIDE, dtype=torch.float32)
        low = position.long()
        high = (low + 1).clamp_max(size - 1)
        weight = position - low
        matrix = torch.zeros(SIDE, size)
        matrix.scatter_add_(1, low[:, None], 1 - weight[:, None])
        matrix.scatter_add_(1, high[:, None], weight[:, None])
        return matrix.to(device)


def resize(x: Tensor) -> Tensor:
    """Resize float images (n c h w) to 299 x 299 as TensorFlow 1 does; the result is channels_last."""
    rows, columns = _resize_matrix(x.shape[2], x.device), _resize_matrix(x.shape[3], x.device)
    return (rows @ (x @ columns.T)).contiguous(memory_format=torch.channels_last)


class InceptionFID(nn.Module):
    """forward(uint8 n 3 h w) -> {"features": n d, "logits": n 1008 for the taps 2048 and logits}.

    state: torch-fidelity's state dict; only the layers up to `tap` are read. Logits are without the bias of the last
    layer, as in the inception score of the TensorFlow graph.
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
        return self.taps(images.float())

    def taps(self, images: Tensor) -> dict[str, Tensor]:
        """The same of float images in [0, 255]."""
        x = resize((images - 128) / 128)  # scaling commutes with the resize and is cheaper on fewer pixels
        for layer in self.layers:
            x = layer(x)
        features = x.mean(dim=(2, 3))
        if self.fc is None:
            return {"features": features}
        logits = features @ self.fc.T  # type: ignore[operator]
        return {"features": logits if self.tap == "logits" else features, "logits": logits}
