"""Sets of images in their stored sizes, to compare with one another: a folder, a ZIP, or a packed dataset."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gan_lab.data.folder import ImageSource
from gan_lab.data.listing import Entry, printable
from gan_lab.data.sources import resolve_path
from gan_lab.data.store import is_packed, open_packed

_DECODE_BLOCK = 4  # images decoded at a time: a large one takes 200 MB
_BATCH_BYTES = 2**28


class ImageSet:
    """`num_train` images of one class, with the attributes that an evaluator reads from a dataset.

    `read(indices)` yields images, uint8 h w c. `sha256` changes with the files. `skipped` counts unreadable files.
    """

    num_test, num_classes, multi_label = 0, 1, False

    def __init__(
        self,
        name: str,
        sha256: str,
        count: int,
        read: Callable[[Sequence[int]], Iterable[np.ndarray]],
        skipped: int = 0,
    ) -> None:
        self.name, self.sha256, self.num_train, self.skipped, self._read = name, sha256, count, skipped, read
        height, _, self.channels = next(iter(read([0]))).shape
        self.resolution = height

    def batches(self, indices: Tensor, batch_size: int) -> Iterator[Tensor]:
        """Yield the images at `indices` in this order: uint8 b c h w. A batch ends where the image size changes."""
        held: list[Tensor] = []
        for pixels in self._read(indices.tolist()):
            image = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)  # c h w
            full = len(held) == batch_size or (len(held) + 1) * image.numel() > _BATCH_BYTES
            if held and (full or image.shape != held[0].shape):
                yield torch.stack(held)
                held = []
            held.append(image)
        if held:
            yield torch.stack(held)


@contextmanager
def open_images(path: str | Path, key: str = "path", max_unreadable: int = 0) -> Iterator[ImageSet]:
    """Open the images of a folder with its subfolders, a ZIP, or a packed dataset's training split, without resizing.

    Files are chosen and decoded as for training (see `folder` and `decode`), but not cropped. Raises UserError, which
    calls the path `key`, if there are no images or more than `max_unreadable` broken files.
    """
    place = resolve_path(key, path)
    if is_packed(place):
        store = open_packed(place)
        yield ImageSet(store.name, store.sha256, store.train, lambda indices: (store.images[i] for i in indices))
        return
    with closing(ImageSource(place, None, max_unreadable, key, limit_key="max_unreadable", labels=False)) as source:
        entries = _readable(source)

        def read(indices: Sequence[int]) -> Iterator[np.ndarray]:
            for part in source.read([entries[i] for i in indices], _DECODE_BLOCK):
                yield from (image for _, image in part)

        files = [entry.file for entry in entries]
        sha256 = hashlib.sha256(repr(files).encode("utf-8", "surrogateescape")).hexdigest()
        yield ImageSet(printable(place.name), sha256, len(entries), read, len(source.entries) - len(entries))


def _readable(source: ImageSource) -> list[Entry]:
    """Return the entries that can be decoded. If none may be skipped, all are returned and reading them checks."""
    if source.max_unreadable == 0:
        return source.entries
    found = [entry for part in source.read(source.entries, _DECODE_BLOCK) for entry, _ in part]
    source.log_skipped()
    source.max_unreadable, source.unreadable = 0, []
    return found
