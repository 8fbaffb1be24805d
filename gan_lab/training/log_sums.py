"""Add up the scalars of updates on the device, so that nothing waits for them until the next row of the log."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from gan_lab.linalg import as_float64

LogSums = dict[str, Tensor]
"""Names, joined by commas, -> their sums and counts (2 n), in float64."""


def add_scalars(sums: LogSums, values: Mapping[str, Tensor]) -> None:
    """Add one update's scalars. Those that are not finite belong to a skipped update, and are left out."""
    numbers = as_float64(torch.stack([v.detach() for v in values.values()]))
    finite = torch.isfinite(numbers)
    row = torch.stack([torch.where(finite, numbers, 0.0), finite.double()])
    names = ",".join(values)
    sums[names] = sums[names] + row if names in sums else row


def means(sums: LogSums) -> dict[str, float]:
    """Return the mean of each name, NaN if it never was finite."""
    totals: dict[str, Tensor] = {}
    for names, row in sums.items():
        for name, column in zip(names.split(","), row.cpu().T, strict=True):
            totals[name] = totals[name] + column if name in totals else column
    return {name: float(total / count) if count else math.nan for name, (total, count) in totals.items()}
