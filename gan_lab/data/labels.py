"""The classes of the images of a folder or a ZIP: from a file of labels, or else from class folders.

A file of labels lies in the folder that holds all images, and is one of

- `dataset.json` or `labels.json`, in StyleGAN's form {"labels": [["a/1.png", 3], ...]} or {"labels": {"a/1.png": 3}};
- `labels.csv`, with a line "a/1.png,3" for each image, and a header such as "file,label" above them or not.

Names are relative to its folder. A label is a whole number or a name. Classes are numbered in the order of their
labels. `"labels": null` says that there are none: one class, whatever the folders.

An image may have several labels: a vector of 0 and 1 for each image, [0, 1, 1] in JSON, "a/1.png,0,1,1" in CSV, where
a header "file,hat,smile,glasses" names them.
"""

import csv
import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from gan_lab.data.listing import Entry, printable
from gan_lab.errors import UserError

FILES = ("dataset.json", "labels.json", "labels.csv")
MAX_BYTES = 256 * 2**20

Label = int | tuple[int, ...]  # a class, or a vector of 0 and 1
Classes = tuple[list[str], Mapping[str, Label]]  # the class names, and the label of each image's name


def one_class(entries: Sequence[Entry]) -> Classes:
    """Return one class, "image", of all."""
    return ["image"], {entry.name: 0 for entry in entries}


def label_file(entries: Sequence[Entry], others: Sequence[str], where: str) -> str | None:
    """Return the name of the file of labels among the `others`, or None; UserError if there are several."""
    above = set(PurePosixPath(_shared(entries)).parents) | {PurePosixPath(_shared(entries))}
    found = [name for name in others if PurePosixPath(name).name in FILES and PurePosixPath(name).parent in above]
    if len(found) > 1:
        raise UserError(f"{where} has two files of labels, {found[0]} and {found[1]}; keep one of them.")
    return found[0] if found else None


def read_classes(entries: Sequence[Entry], name: str, content: bytes, where: str) -> Classes:
    """Return the classes that the file of labels `name` gives the images.

    Raises:
        UserError: the file cannot be read, or gives an image no label, two, or one that is no class.
    """
    what = f"{where}: {name}"
    found = _rows(name, content, what)
    if found is None:
        return one_class(entries)
    names, rows = found
    several = len(rows) > 0 and isinstance(rows[0][1], list)
    length = len(names or rows[0][1]) if several else 0
    folder, label_of = PurePosixPath(name).parent, dict[str, Any]()
    for file, label in rows:
        if several:
            label = _vector(label, length, f"{what} gives {printable(str(file))} the label")
        elif not isinstance(label, int | str) or isinstance(label, bool) or label == "":
            shown = printable(str(label)) or "''"
            raise UserError(f"{what} gives {printable(str(file))} the label {shown}, "
                            "which is neither a whole number nor a name.")  # fmt: skip
        path = (folder / str(file).replace("\\", "/")).as_posix()
        if label_of.setdefault(path, label) != label:
            raise UserError(f"{what} gives {printable(str(file))} two labels, {label_of[path]} and {label}.")
    missing = [entry for entry in entries if entry.name not in label_of]
    if missing:
        more = f" and {len(missing) - 1} more images" if len(missing) > 1 else ""
        raise UserError(f"{what} gives {missing[0].printable}{more} no label; add it, "
                        "or leave the classes out with dataset.labels=false.")  # fmt: skip
    if several:
        names = names or [str(i) for i in range(length)]
        return [printable(label) for label in names], {e.name: label_of[e.name] for e in entries}
    used = {label_of[entry.name] for entry in entries}
    numbers = all(isinstance(label, int) for label in used)
    order = sorted(used, key=(lambda label: label) if numbers else str)  # type: ignore[arg-type,return-value]
    index = {label: i for i, label in enumerate(order)}
    return [printable(str(label)) for label in order], {e.name: index[label_of[e.name]] for e in entries}


def classes_of_folders(entries: Sequence[Entry], where: str) -> Classes:
    """Return a class for each first folder below those that all images share; one class if there is none.

    Raises:
        UserError: images lie beside class folders.
    """
    depth = len(PurePosixPath(_shared(entries)).parts)
    below = {entry.name: entry.parts[depth:-1][:1] for entry in entries}
    names = sorted({parts[0] for parts in below.values() if parts})
    if not names:
        return one_class(entries)
    beside = [entry for entry in entries if not below[entry.name]]
    if beside:
        more = f" and {len(beside) - 1} more images lie" if len(beside) > 1 else " lies"
        folders = ", ".join(map(printable, names[:3])) + (", ..." if len(names) > 3 else "")
        raise UserError(f"{where}: {beside[0].printable}{more} beside the class folders {folders}; move what lies "
                        "there into them, or leave the classes out with dataset.labels=false.")  # fmt: skip
    index = {name: i for i, name in enumerate(names)}
    return [printable(name) for name in names], {name: index[parts[0]] for name, parts in below.items()}


def _shared(entries: Sequence[Entry]) -> str:
    """Return the deepest folder that all images lie in."""
    return "/".join(os.path.commonprefix([entry.parts[:-1] for entry in entries]))


def _vector(label: Any, length: int, what: str) -> tuple[int, ...]:
    if not isinstance(label, list) or len(label) != length or any(v not in (0, 1) for v in label):
        raise UserError(f"{what} {printable(str(label))}, which is no vector of {length} numbers 0 and 1.")
    return tuple(map(int, label))


def _rows(name: str, content: bytes, what: str) -> tuple[list[str] | None, list[tuple[Any, Any]]] | None:
    """Parse the labels' names, if the file has them, and pairs of a file and its label; None if it says `null`."""
    read: Callable[[str], Any] = _rows_of_csv if name.endswith(".csv") else json.loads
    try:
        found = read(content.decode("utf-8-sig"))
    except (ValueError, csv.Error, RecursionError) as error:
        raise UserError(f"{what} cannot be read as {'CSV' if name.endswith('.csv') else 'JSON'} ({error}).") from None
    if isinstance(found, dict):
        found = found.get("labels", found)
    if found is None:
        return None
    names, found = found if isinstance(found, tuple) else (None, found)
    rows = list(found.items()) if isinstance(found, dict) else found
    if not isinstance(rows, list) or not all(isinstance(row, list | tuple) and len(row) == 2 for row in rows):
        raise UserError(f'{what} must hold pairs of a file and its label, as {{"labels": [["a/1.png", 3], ...]}} '
                        "or lines of CSV.")  # fmt: skip
    return names, [(file, label) for file, label in rows]


def _rows_of_csv(text: str) -> tuple[list[str] | None, list[tuple[str, Any]]]:
    """Parse lines of CSV. A first line is a header if it says so, or if it alone has labels that are no numbers."""
    rows = [tuple(cell.strip() for cell in row) for row in csv.reader(io.StringIO(text)) if row]
    several = max(map(len, rows), default=0) > 2
    number = [len(row) > 1 and all(cell.lstrip("-").isdecimal() for cell in row[1:]) for row in rows]
    alone = len(rows) > 1 and not number[0] and all(number[1:])
    header: tuple[str, ...] = ()
    if alone or (rows and (rows[0] == ("file", "label") or (several and rows[0][0] == "file"))):
        header, rows, number = rows[0], rows[1:], number[1:]
    if several:
        vectors = [(file, [int(v) if v in ("0", "1") else v for v in vector]) for file, *vector in rows]
        return list(header[1:]) or None, vectors
    return None, [(row[0], int(row[1])) for row in rows] if all(number) else rows  # type: ignore[return-value]
