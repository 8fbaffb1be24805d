"""Sizes of nets: the sides of their feature maps and their numbers of channels."""

from __future__ import annotations


def base_and_doublings(resolution: int, bases: tuple[int, ...] = (4, 6, 8), doublings: int = 3) -> tuple[int, int]:
    """(base, n) with base * 2^n = resolution, n >= 1 as close to `doublings` as the bases allow.

    32 -> (4, 3), 48 -> (6, 3), 64 -> (8, 3), 96 -> (6, 4), 128 -> (8, 4). ValueError naming the nearest sizes
    otherwise.
    """
    plans = [(b, n) for b in bases for n in range(1, 12) if b * 2**n == resolution]
    if not plans:
        sizes = sorted({b * 2**n for b in bases for n in range(1, 12)})
        below = [s for s in sizes if s < resolution][-1:]
        above = [s for s in sizes if s > resolution][:1]
        near = " or ".join(str(s) for s in below + above)
        raise ValueError(
            f"resolution {resolution} is not {', '.join(map(str, bases))} times a power of two; use {near}"
        )
    return min(plans, key=lambda plan: abs(plan[1] - doublings))


def scale_channels(channels: int, width: float) -> int:
    """`channels` times `width`, to the nearest multiple of 4 from 4 on, below it at least 1."""
    if width <= 0:
        raise ValueError(f"width must be above 0, got {width}")
    exact = channels * width
    return max(1, round(exact)) if exact < 4 else 4 * round(exact / 4)


def stage_sides(resolution: int) -> list[int]:
    """The sides of the feature maps, smallest first: 32 -> [4, 8, 16, 32], 48 -> [6, 12, 24, 48].

    ValueError unless `resolution` is 4 or 6 times a power of two.
    """
    side = resolution
    sides = [side]
    while side % 2 == 0 and side >= 8:
        side //= 2
        sides.insert(0, side)
    if side not in (4, 6):
        raise ValueError(f"resolution {resolution} is not 4, 6 or 8 times a power of two")
    return sides


def round_channels(channels: float, multiple: int = 8) -> int:
    """Channels rounded down to a multiple of 8, as fast convolutions want them; at least 1, small counts as
    they are.
    """
    count = int(channels)
    return max(1, count if count < multiple else count // multiple * multiple)
