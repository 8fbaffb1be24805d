"""Sizes of nets: the sides of their feature maps and their numbers of channels."""


def base_and_doublings(resolution: int, bases: tuple[int, ...] = (4, 6, 8), doublings: int = 3) -> tuple[int, int]:
    """Return (base, n) with base * 2^n = resolution and n >= 1 as close to `doublings` as the `bases` allow.

    32 -> (4, 3), 48 -> (6, 3), 64 -> (8, 3), 96 -> (6, 4), 128 -> (8, 4). ValueError if there is none, naming the
    nearest resolutions.
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
    """Return channels * width, rounded to a multiple of 4; below 4 to an integer of at least 1.

    ValueError for a width that is not above 0.
    """
    if width <= 0:
        raise ValueError(f"width must be above 0, got {width}")
    exact = channels * width
    return max(1, round(exact)) if exact < 4 else 4 * round(exact / 4)


def stage_sides(resolution: int) -> list[int]:
    """Return the sides of the feature maps, smallest first: 32 -> [4, 8, 16, 32], 48 -> [6, 12, 24, 48].

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
    """Round `channels` down to a multiple of 8, which convolutions run fast on; below 8 to an integer of at least 1."""
    count = int(channels)
    return max(1, count if count < multiple else count // multiple * multiple)
