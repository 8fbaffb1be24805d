"""The reconstruction error of a run's generator (WN-GAN, arXiv:1704.03971)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gan_lab.distributed.device import pick_device
from gan_lab.metrics.reconstruction import reconstruction_error
from gan_lab.use.evaluate import append_evaluation
from gan_lab.use.features import load_trained


def reconstruct(
    path: str | Path,
    *,
    checkpoint: str | int | None = None,
    ema: bool = True,
    data_dir: str | Path | None = None,
    dataset_path: str | Path | None = None,
    device: str = "auto",
    extensions: Sequence[str] = (),
    **search: Any,
) -> dict[str, Any]:
    """Measure a run's reconstruction error and append the row to its metrics.jsonl.

    Args:
        path: a run directory, or a checkpoint file. For a file, nothing is written.
        checkpoint, ema, data_dir, dataset_path, device, extensions: as in `sample` and `evaluate`.
        search: images, steps, restarts, split, seed and batch_size of
            `gan_lab.metrics.reconstruction.reconstruction_error`.

    Returns:
        The row, with the protocol as `protocol_entries`.

    Raises:
        UserError: a path, checkpoint or dataset cannot be used.
    """
    run, on = Path(path).expanduser(), pick_device(device, "device")
    data = {"data_dir": data_dir, "dataset_path": dataset_path}
    trained = load_trained(run, on, checkpoint=checkpoint, ema=ema, **data, extensions=extensions)
    error, protocol = reconstruction_error(trained.G, trained.dataset, device=on, **search)
    protocol["ema"] = ema
    row = append_evaluation(run, trained.file, trained.content, {"reconstruction_error": error}, protocol)
    return {**row, "protocol_entries": protocol}
