"""`gan-lab prepare-data`: pack a dataset before training, or check one."""

from dataclasses import dataclass
from pathlib import Path

from gan_lab.cli.options import data_dir, has_no_key, option, positional
from gan_lab.config.ranges import one_of, whole
from gan_lab.errors import escaped

NAMES = (
    "celeba", "cifar10", "cifar100", "faces", "fashion_mnist", "folder", "mnist", "packed", "shapes", "stacked_mnist",
    "stl10",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Options:
    """Pack a dataset before training, or check one that is already packed."""

    examples = ("cifar10", "folder path=~/photos resolution=64")
    name: str = positional("NAME", "the dataset", has_no_key, allowed=one_of(*NAMES))
    data_dir: Path = data_dir()
    path: Path | None = option(
        "of folder: a folder, class folders or a ZIP of images; of packed: a packed directory",
        None,
        also="dataset.path",
    )
    resolution: int | None = option(
        "side in pixels, of folder (64), stl10 (48) and celeba (64)", None, whole(1), also="dataset.resolution"
    )
    max_unreadable: int | None = option(
        "of folder: how many images may be skipped",
        None,
        whole(0),
        shown="1 %, but at least 10",
        also="dataset.max_unreadable",
    )
    held_out: int = option("of folder: how many images are kept out of training", 0, whole(0), also="dataset.held_out")
    labels: bool = option("false: leave the classes out", True, also="dataset.labels")


def run(options: Options) -> None:
    """Pack or open the dataset, verify its sha256, and print its properties."""
    from gan_lab.data.sources import load
    from gan_lab.data.store import open_packed

    dataset = load(**vars(options))
    store = open_packed(dataset.store.folder, verify=True)
    print(f"{store.name}: {store.folder}")
    print(f"images      {store.train:,} train, {store.test:,} test")
    padded = f", padded to {dataset.resolution}" if dataset.resolution != store.resolution else ""
    print(f"resolution  {store.resolution}{padded}")
    print(f"channels    {store.channels}")
    more = ", ..." if dataset.num_classes > 10 else ""
    print(f"classes     {dataset.num_classes}: {escaped(', '.join(dataset.class_names[:10]))}{more}")
    print(f"sha256      {store.sha256}")
