"""Read what `gan_lab.export` wrote: a folder of the Hugging Face layout, a model of the hub, a torch.export program."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from gan_lab.errors import UserError
from gan_lab.files import check_regular, read_json_object
from gan_lab.nets import Generator
from gan_lab.nets.labels import require_classes

CONFIG, WEIGHTS, CARD, PICTURE = "config.json", "model.safetensors", "README.md", "samples.png"
PROGRAM = ".pt2"
DESCRIPTION = "gan_lab.json"  # its name inside a program
FORMAT = 1
_OPTIONAL: dict[str, Any] = {  # what a description may lack
    "z_prior": "normal", "class_names": [], "class_weights": [], "supports_truncation": False, "extensions": [],
    "recipe": {}, "figures": {}, "protocol": {},
}  # fmt: skip
_HUB_ID = re.compile(r"([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")


def is_exported(path: Path) -> bool:
    """Whether `path` is a folder of the Hugging Face layout."""
    return (path / CONFIG).is_file() and (path / WEIGHTS).is_file()


def exported_folder(path: str | Path) -> Path | None:
    """Return `path` if it is a folder of the layout, or the local copy of a model of the Hugging Face hub.

    A text names such a model, `owner/name` or `owner/name@revision`. Downloads what is missing, without network only
    what the cache has. None if `path` is something else here, or cannot be an id.
    """
    place = Path(path).expanduser()
    if is_exported(place):
        return place
    match = _HUB_ID.fullmatch(path) if isinstance(path, str) else None
    if match is None or place.exists() or place.parent.exists():
        return None
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise UserError(
            f"{path} is no path here; to load it from the Hugging Face hub, pip install huggingface-hub"
        ) from error
    try:
        files = [hf_hub_download(match[1], file, revision=match[2]) for file in (CONFIG, WEIGHTS)]
    except Exception as error:  # the hub, its cache and the network raise many types
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"{path} is no path here, and cannot be had from the Hugging Face hub: {why}") from error
    return Path(files[0]).parent


def read_folder(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the description and the weights in a folder. Reads JSON and safetensors only: nothing is executed."""
    description = checked(read_json_object(folder / CONFIG), folder / CONFIG)
    try:
        check_regular(folder / WEIGHTS)
        return description, load_file(folder / WEIGHTS)
    except (OSError, SafetensorError, ValueError) as error:
        raise UserError(f"cannot read {folder / WEIGHTS}: {error}") from error


def checked(description: dict[str, Any], source: Path) -> dict[str, Any]:
    """Return a description. Raises UserError unless it has the format of this version and everything that is read."""
    if description.get("gan_lab_format") != FORMAT:
        raise UserError(f"{source} describes no generator of gan_lab (gan_lab_format is not {FORMAT})")
    numbers = ("resolution", "channels", "num_classes", "z_dim")
    if not all(type(description.get(key)) is int for key in numbers):
        raise UserError(f"{source} lacks one of {', '.join(numbers)}")
    if not isinstance(description.get("generator"), dict):
        raise UserError(f"{source} lacks the generator's settings")
    return _OPTIONAL | description


def known_names(description: Mapping[str, Any], num_classes: int) -> tuple[str, ...]:
    """Return the names that a description, or a checkpoint's of its data, gives the classes; () if it names not all."""
    names: Any = description.get("class_names")
    fits = isinstance(names, list) and len(names) == num_classes and all(isinstance(name, str) for name in names)
    return tuple(names) if fits else ()


class Program(Generator):
    """A generator whose forward is a program of torch.export. It has no parts, and cannot be trained."""

    def __init__(self, program: nn.Module, description: dict[str, Any]) -> None:
        classes, prior = len(description["class_weights"]), description["z_prior"]
        super().__init__(description["resolution"], description["channels"], description["z_dim"], classes, prior)
        if classes:
            self.class_weights.copy_(torch.tensor(description["class_weights"]))
        self.class_names = known_names(description, classes)
        self.supports_truncation = bool(description["supports_truncation"])
        self.program = program

    def train(self, mode: bool = True) -> Self:
        """Only note the mode: the program is that of evaluation, and torch refuses to switch it."""
        self.training = mode
        return self

    def forward(self, z: Tensor, y: Tensor | None = None, truncation: float | Tensor = 1.0) -> Tensor:
        """z: b z_dim, y: b -> images b c h w."""
        inputs: dict[str, Tensor] = {}
        if self.num_classes:
            inputs["y"] = require_classes(y)
        if self.supports_truncation:
            inputs["truncation"] = torch.as_tensor(truncation, dtype=torch.float32)
        return self.program(z, **inputs)  # type: ignore[no-any-return]


def read_program(file: Path, trusted: bool) -> Program:
    """Load a program of torch.export. torch unpickles such files, so that loading one may run its author's code."""
    if not trusted:
        raise UserError(f"{file} is a program of torch.export, and loading one can run code that its author put there; "
                        "if you trust it, use load_generator(..., trusted=True) in Python; commands take "
                        "folders of the format hub")  # fmt: skip
    extra = {DESCRIPTION: ""}
    try:
        program = torch.export.load(file, extra_files=extra).module()
        description = json.loads(extra[DESCRIPTION])
    except Exception as error:  # torch raises many types for a file that is no program
        raise UserError(f"{file} is not a readable program of torch.export ({type(error).__name__})") from error
    return Program(program, checked(description, file))
