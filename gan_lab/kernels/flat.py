"""Keeping many tensors and putting them back, with a few operators for all of them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

Groups = list[list[Tensor]]


def flat_groups(tensors: Sequence[Tensor]) -> Groups:
    """The same memory as flat views (n), in one list for each device and dtype, which `torch.cat` makes one tensor of.

    The entries of a view are in the order of memory. A tensor with gaps in memory has no such view; it is listed as it
    is, with those of its trailing dimensions.
    """
    groups: dict[Any, list[Tensor]] = {}
    for tensor in tensors:
        ordered = tensor.permute(sorted(range(tensor.dim()), key=tensor.stride, reverse=True))
        part = ordered.view(-1) if ordered.is_contiguous() else tensor
        groups.setdefault((part.device, part.dtype, part.shape[1:]), []).append(part)
    return list(groups.values())


def keep(groups: Groups) -> list[Tensor]:
    """A copy of each group, as one tensor."""
    return [torch.cat(group) for group in groups]


def put_back(groups: Groups, kept: list[Tensor], unless: Tensor | None = None) -> None:
    """Write what `keep` gave into the groups again; not where `unless` (a bool scalar, which is not read) is True."""
    for group, old in zip(groups, kept, strict=True):
        content = old if unless is None else torch.where(unless.to(old.device), torch.cat(group), old)
        torch._foreach_copy_(group, content.split([len(part) for part in group]))
