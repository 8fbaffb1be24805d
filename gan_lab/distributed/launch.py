"""Run several processes: started here for `trainer.devices`, or by torchrun.

This is plain torch.distributed: no wrapper around the nets gets in the way of penalties that differentiate twice.
Parameters are equal on all ranks at the start. They stay equal because gradients are averaged over ranks before
each optimizer step.
"""

import logging
import multiprocessing
import os
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from gan_lab.config.schema import Config
from gan_lab.distributed.device import pick_device, uses_gpus
from gan_lab.distributed.launcher import place
from gan_lab.errors import GanLabError, LostRankError, OutOfMemoryError, UserError, signals_here, useful_line

log = logging.getLogger(__name__)


@contextmanager
def joined(config: Config, work: Callable[[Config], Any]) -> Iterator[None]:
    """Run a block as one of the ranks that `config` or torchrun asks for, or alone.

    Processes started here call `work(config)`. It must be a module's function, so that it can be pickled.
    """
    trainer = config.trainer
    if trainer.threads:
        torch.set_num_threads(trainer.threads)
    if distributed.is_available() and distributed.is_initialized():
        yield  # the caller has made the group
        return
    here = place()
    if here.stray:
        warnings.warn(here.stray, stacklevel=2)
    if (world := here.world) > 1:
        if trainer.devices not in (1, world):
            raise UserError(f"trainer.devices={trainer.devices} but torchrun started {world} processes; leave it out")
        if trainer.batch_size % world:
            raise UserError(
                f"trainer.batch_size={trainer.batch_size} cannot be shared equally by the {world} processes of "
                "torchrun; choose a multiple"
            )
        with _group(config, here.rank, world, None):
            yield
    elif trainer.devices > 1:
        with _workers(config, work):
            yield
    else:
        yield


@contextmanager
def _group(config: Config, rank: int, world: int, folder: Path | None) -> Iterator[None]:
    """Join the other ranks, which meet by a file in this folder, or as torchrun says. Leave them at the end."""
    wanted = config.trainer.device
    on_gpu = uses_gpus(wanted)
    timeout = timedelta(seconds=config.trainer.rank_timeout_seconds)
    backend = "cpu:gloo,cuda:nccl" if on_gpu else "gloo"
    try:
        store: distributed.Store
        if folder is not None:
            store = distributed.FileStore(str(folder / "rendezvous"), world)
        else:
            store = next(distributed.rendezvous("env://", rank, world, timeout=timeout))[0]
        # After a restart torchrun's store still holds the addresses of the earlier processes.
        store = distributed.PrefixStore(f"start-{os.environ.get('TORCHELASTIC_RESTART_COUNT') or 0}", store)
        distributed.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=timeout)
    except (RuntimeError, ValueError) as error:  # DistError is a RuntimeError
        meeting = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}" if folder is None else "here"
        raise LostRankError(
            f"rank {rank} could not meet the {world - 1} other processes at {meeting} within "
            f"{timeout.total_seconds():.0f} s ({useful_line(error)[:200]}); start all of them with the same address, "
            "or set trainer.rank_timeout_seconds"
        ) from error
    try:
        if on_gpu:
            torch.cuda.set_device(pick_device(wanted))
        yield
    finally:
        distributed.destroy_process_group()


@contextmanager
def _workers(config: Config, work: Callable[[Config], Any]) -> Iterator[None]:
    """Start the other ranks and run the block as rank 0. They end with this process."""
    world = config.trainer.devices
    gpus = torch.cuda.device_count() if uses_gpus(config.trainer.device) else world
    if gpus < world:
        raise UserError(f"trainer.devices={world}, but PyTorch sees {gpus} CUDA devices here; choose at most "
                        f"{gpus}, or trainer.device=cpu")  # fmt: skip
    threads = config.trainer.threads or max(1, torch.get_num_threads() // world)
    context = multiprocessing.get_context("spawn")
    threads_before = torch.get_num_threads()
    with tempfile.TemporaryDirectory(prefix="gan_lab-ranks-") as folder:
        arguments = (world, Path(folder), config, work, threads, sys.path)
        workers: list[BaseProcess] = [
            context.Process(target=_worker, args=(rank, *arguments), name=f"rank-{rank}", daemon=True)
            for rank in range(1, world)
        ]
        for worker in workers:
            worker.start()
        torch.set_num_threads(threads)
        try:
            _wait_for_start(workers, Path(folder))
            with _group(config, 0, world, Path(folder)):
                yield
            for worker in workers:
                worker.join(timeout=60)
        except LostRankError as error:
            for worker in workers:
                worker.join(timeout=10)
            ends = "; ".join(_end(worker, Path(folder)) for worker in workers if worker.exitcode)
            raise LostRankError(f"{error}{f' ({ends})' if ends else ''}") from error
        finally:
            torch.set_num_threads(threads_before)
            for worker in workers:
                if worker.is_alive():
                    worker.kill()
                worker.join()


def _wait_for_start(workers: Sequence[BaseProcess], folder: Path) -> None:
    """Wait until each worker runs `_worker`. LostRankError if one ends before, and so would never join."""
    for worker in workers:
        started = folder / f"{worker.name}.started"
        while not started.exists():
            if not worker.is_alive() and not started.exists():
                raise LostRankError(
                    "a process that was started for trainer.devices ended at once; a script that trains needs its "
                    'calls under `if __name__ == "__main__":`, as each process imports it'
                )
            worker.join(timeout=0.05)


def _end(worker: BaseProcess, folder: Path) -> str:
    """How a worker ended, and the error of its own, if it had one."""
    file = folder / f"{worker.name}.error"
    own = f": {file.read_text('utf-8')}" if file.is_file() else ""
    return f"{worker.name} ended with {worker.exitcode}{own}"


def _worker(
    rank: int, world: int, folder: Path, config: Config, work: Callable[[Config], Any], threads: int, path: list[str]
) -> None:
    """Run `work` in a started process. It logs only warnings and stops when rank 0 does."""
    for number in signals_here("SIGINT", "SIGTERM", "SIGUSR1"):
        signal.signal(number, signal.SIG_IGN)  # rank 0 handles signals and tells the others
    sys.path[:] = path
    os.environ["LOCAL_RANK"] = str(rank)
    logging.basicConfig(level=logging.WARNING, format=f"[rank {rank}] %(message)s")
    warnings.filterwarnings("ignore")  # rank 0 shows the same warnings
    torch.set_num_threads(threads)
    (folder / f"rank-{rank}.started").touch()
    try:
        with _group(config, rank, world, folder):
            work(config)
    except GanLabError as error:
        if isinstance(error, LostRankError | OutOfMemoryError):
            log.warning("%s", error)
        else:  # rank 0 logs it, be it its own, too, or because it lost this rank
            (folder / f"rank-{rank}.error").write_text(str(error), "utf-8")
        sys.exit(error.exit_status)
