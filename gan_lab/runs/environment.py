"""Record where and how a run is computed: versions, device, commit and command."""

import platform
import subprocess
import sys
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import gan_lab


def commit_of(package: Path) -> str | None:
    """Return the commit of the repository that holds the package; None if it is only installed below another one."""

    def git(*words: str) -> str:
        command = ["git", "-C", str(package), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")
        return git("rev-parse", "HEAD")
    except (OSError, subprocess.SubprocessError):
        return None


def environment(recipe: str | None) -> dict[str, Any]:
    """Collect versions, device, commit and command, which are needed to repeat a run."""
    versions: dict[str, str | None] = {}
    for package in ("torch", "torchvision", "hydra-core", "omegaconf", "torchmetrics", "torch-fidelity", "numpy"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    cuda = torch.cuda.is_available()
    return {
        "gan_lab": gan_lab.__version__,
        "git_commit": commit_of(Path(gan_lab.__file__).resolve().parent),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": versions,
        "device": torch.cuda.get_device_name() if cuda else platform.processor() or platform.machine(),
        "cuda": torch.version.cuda if cuda else None,
        "threads": torch.get_num_threads(),
        "command": sys.argv,
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "recipe": recipe,
    }


def with_history(now: dict[str, Any], past: dict[str, Any]) -> dict[str, Any]:
    """Add to `now` the environments of the run's earlier processes where they differ, newest first."""
    if not past:
        return now
    earlier = past.pop("earlier", [])
    same = {k: v for k, v in past.items() if k != "started"} == {k: v for k, v in now.items() if k != "started"}
    return {**now, "earlier": earlier if same else [past, *earlier]}
