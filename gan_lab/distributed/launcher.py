"""Read the environment variables by which torchrun, or a launcher like it, tells a process its place. Without torch."""

import os
from dataclasses import dataclass

from gan_lab.errors import UserError

_NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Place:
    """The place of this process among those that were launched together."""

    rank: int
    world: int
    stray: str = ""  # a sentence on variables that are ignored


ALONE = Place(0, 1)


def place() -> Place:
    """Return the place that the environment states: rank 0 of 1 unless a launcher started several processes.

    An empty variable is none. Variables left over in the environment, which describe no group of processes, are
    ignored, and `stray` says so. Raises UserError if they describe a group, but not all of it or nothing possible.
    """
    given = {name: value for name in _NEEDED if (value := os.environ.get(name, "").strip())}
    missing = [name for name in _NEEDED if name not in given]
    # MASTER_ADDR and MASTER_PORT alone say nothing about this process, and WORLD_SIZE=1 is what it is without them.
    if not given.keys() & {"RANK", "WORLD_SIZE"}:
        return ALONE
    shown = ", ".join(f"{name}={value}" for name, value in given.items())
    if given.get("WORLD_SIZE", "1") == "1":
        if "TORCHELASTIC_RUN_ID" in os.environ or (not missing and given["RANK"] == "0"):
            return ALONE
        lacks = f" ({_are_missing(missing)})" if missing else ""
        return Place(0, 1, f"{shown}: these environment variables are of no launcher{lacks}, so they are ignored and "
                           "one process trains; unset them to silence this")  # fmt: skip
    world = _whole("WORLD_SIZE", 1)
    if missing:
        raise UserError(
            f"{shown}: the environment asks for {world} processes, but {_are_missing(missing)}; start them with "
            "torchrun, or unset WORLD_SIZE"
        )
    rank = _whole("RANK", 0)
    if rank >= world:
        raise UserError(f"RANK={rank}: must be below WORLD_SIZE={world}; start the processes with torchrun")
    if _whole("MASTER_PORT", 1) >= 2**16:
        raise UserError(f"MASTER_PORT={os.environ['MASTER_PORT']}: must be below 65536")
    if os.environ.get("LOCAL_RANK", "").strip():
        _whole("LOCAL_RANK", 0)
    return Place(rank, world)


def _are_missing(names: list[str]) -> str:
    return f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} missing"


def _whole(name: str, least: int) -> int:
    text = os.environ[name].strip()
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) >= least):
        raise UserError(f"{name}={text}: this environment variable of a launcher must be a whole number of at least "
                        f"{least}; start the processes with torchrun, or unset {name}")  # fmt: skip
    return int(text)
