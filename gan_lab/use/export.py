"""Export a trained generator: the Hugging Face layout, a torch.export program, or ONNX; each is read back and compared.

What is written holds the averaged generator with its norms baked in, and nothing private: no paths, commands or names
of machines.
"""

import copy
import io
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save
from torch import Tensor

from gan_lab.config.ranges import whole
from gan_lab.distributed.randomness import own_randomness
from gan_lab.errors import GanLabError, UserError
from gan_lab.files import json_bytes, read_json_object, write_atomically
from gan_lab.nets import Generator
from gan_lab.nets.sampling import with_standing_statistics
from gan_lab.norms import bake
from gan_lab.runs.checkpoint import load_checkpoint
from gan_lab.use.card import describe, model_card
from gan_lab.use.checks import check
from gan_lab.use.exported import CARD, CONFIG, DESCRIPTION, PICTURE, WEIGHTS, exported_folder, read_program
from gan_lab.use.generate import generate, latents_of
from gan_lab.use.load import check_is_one, exported_generator, find_checkpoint, generator_of, load_generator
from gan_lab.use.pictures import write_file, write_picture, writing

SUFFIXES = {".pt2": "torch", ".onnx": "onnx"}
_OTHERS = (".pt", ".pth", ".ckpt", ".bin", ".pkl", ".safetensors", ".zip")  # of files; the format hub is a folder
FORMATS = ("hub", *SUFFIXES.values())
_FILES = (CONFIG, WEIGHTS, CARD, PICTURE)  # of the format hub
NOISES = ("constant", "none", "random")
TOLERANCE = 1e-4  # the most that an image (in [-1, 1]) may differ from our own forward
Forward = Callable[..., Tensor]  # (z, y=..., truncation=...) -> images


class Exported(NamedTuple):
    """What was written, and the largest difference of its images (in [-1, 1]) from our own forward's."""

    path: Path
    difference: float


def export(
    path: str | Path,
    out: str | Path,
    format: str | None = None,
    *,
    checkpoint: str | int | None = None,
    ema: bool = True,
    noise: str = "constant",
    standing_statistics: int = 0,
    extensions: Sequence[str] = (),
) -> Exported:
    """Write the generator of a run in a format that others can load.

    A conditional generator takes the classes `y` (b, int64) as a second input, one with truncation the number
    `truncation` as the last. The batch may have any size. The file is read back and compared with our own forward.

    Args:
        path: a run directory, a checkpoint file, an exported folder, or a model of the Hugging Face hub.
        out: a folder for the format hub, else a file.
        format: "hub": model.safetensors, config.json, README.md (the model card) and samples.png. "torch": a program of
            torch.export (.pt2). "onnx": an ONNX model (needs the extra `onnx`). None: by the ending of `out`, else hub.
        checkpoint: "best", "latest" or a step of a run directory. None: the best, or the latest if no metric chose one.
        ema: of a run or checkpoint: the moving average of the weights, not the raw weights.
        noise: of StyleGAN2: "constant" (fixed maps), "none", or in the format hub also "random".
        standing_statistics: batches of 100 images over which batch norms take their statistics (0: the running ones).
            The figures of the run, which are of the running ones, are then left out of the card.
        extensions: your own modules that define the generator; their code is executed.

    Raises:
        UserError: the path or `out` cannot be used, or `out` is a folder with other files.
        GanLabError: what was written differs by more than `TOLERANCE`; it is then removed.
    """
    check(standing_statistics=(standing_statistics, whole(0)))
    out = Path(out).expanduser()
    suffix = out.suffix.lower()
    form = format or SUFFIXES.get(suffix, "hub")
    if format is None and suffix in _OTHERS:
        raise UserError(f"out={out}: no format writes a file that ends so; end it in .pt2 or .onnx, or give a folder")
    if form not in FORMATS:
        raise UserError(f"format={form}: must be one of {', '.join(FORMATS)}")
    if form != "hub" and SUFFIXES.get(suffix) != form:
        raise UserError(f"out={out}: the format {form} is a file that ends in "
                        f"{next(s for s, f in SUFFIXES.items() if f == form)}")  # fmt: skip
    if noise not in NOISES or (noise == "random" and form != "hub"):
        raise UserError(f"noise={noise}: must be constant or none, or random in the format hub")
    with own_randomness(0, torch.device("cpu")):
        G, description = _source(path, checkpoint, ema, noise, tuple(extensions))
        G = with_standing_statistics(G, standing_statistics)
        if standing_statistics:
            description |= {"standing_statistics": standing_statistics, "figures": {}, "protocol": {}}
        if G.multi_label and form != "hub":
            raise UserError(f"format={form}: a generator with several labels an image can only be exported to hub")
        plain: Any = bake(copy.deepcopy(G)).requires_grad_(False)
        generate(
            plain, latents_of(plain, range(2))
        )  # images that are not finite are an error before anything is written
        with writing(out):
            if form == "hub":
                _write_folder(out, G, plain, description)
            else:
                write_file(out, (_torch_bytes if form == "torch" else _onnx_bytes)(plain, description))
        difference = _difference(G, _reloaded(out, form, tuple(extensions)))
    if not difference <= TOLERANCE:
        for file in [out / name for name in _FILES] if form == "hub" else [out]:
            file.unlink()
        raise GanLabError(f"the exported generator differs by {difference:.2g} from the run's, more than "
                          f"{TOLERANCE:g}, and was removed; please report it with the run's config.yaml")  # fmt: skip
    return Exported(out, difference)


def _source(
    path: str | Path, checkpoint: str | int | None, ema: bool, noise: str, extensions: tuple[str, ...]
) -> tuple[Generator, dict[str, Any]]:
    """Load the generator, its noise set, and describe it."""
    folder = exported_folder(path)
    if folder is not None:
        check_is_one(path, checkpoint, ema)
        G, description = exported_generator(folder, extensions)
    else:
        file = find_checkpoint(Path(path).expanduser(), checkpoint)
        content = load_checkpoint(file)
        G = generator_of(content, file, ema=ema, extensions=extensions)
        description = describe(G, content, file, ema)
    if G.noise_sides:
        description["generator"]["noise"] = noise
        G.noise = noise  # type: ignore[assignment]
    return G, description


def _inputs(G: Generator, n: int, truncation: float = 1.0) -> tuple[Tensor, dict[str, Tensor]]:
    """Draw z (n z_dim), and the other inputs by name: y (n) and truncation (a scalar) where G takes them."""
    others: dict[str, Tensor] = {}
    if G.num_classes:
        others["y"] = G.labels_of(torch.arange(n, device="cpu") % G.num_choices)
    if G.supports_truncation:
        others["truncation"] = torch.tensor(truncation, dtype=torch.float32, device="cpu")
    return G.from_normal(torch.randn(n, G.z_dim, dtype=torch.float32, device="cpu")), others


def _program(G: Generator) -> torch.export.ExportedProgram:
    """Trace G for batches of any size, without what the tracer notes of our files."""
    z, others = _inputs(G, 2)
    batch = torch.export.Dim("batch")
    sizes = {"z": {0: batch}} | {name: {0: batch} if name == "y" else None for name in others}
    made = torch.export.export(G, (z,), others, dynamic_shapes=sizes)
    for module in made.graph_module.modules():
        for node in getattr(getattr(module, "graph", None), "nodes", ()):
            for private in ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "from_node"):
                node.meta.pop(private, None)
    return made


def _torch_bytes(G: Generator, description: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    torch.export.save(_program(G), buffer, extra_files={DESCRIPTION: json.dumps(description)})
    return buffer.getvalue()


def _onnx_bytes(G: Generator, description: dict[str, Any]) -> bytes:
    try:
        import onnxruntime  # noqa: F401  # for the comparison
        import onnxscript  # noqa: F401  # torch.onnx needs it
    except ImportError as error:
        raise UserError(f"format=onnx needs {error.name}: pip install onnx onnxscript onnxruntime") from error
    for chatty in ("onnxscript", "onnx_ir"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    names = ["z", *_inputs(G, 1)[1]]
    made = torch.onnx.export(_program(G), dynamo=True, verbose=False, input_names=names, output_names=["images"])
    assert made is not None
    model: Any = made.model
    model.doc_string, model.graph.doc_string = None, None
    model.metadata_props.clear()
    model.metadata_props["gan_lab"] = json.dumps(description)
    for node in model.graph:
        node.metadata_props.clear()  # traces of our files
        node.doc_string = None
    for tensor in (*model.graph.inputs, *model.graph.outputs):
        tensor.metadata_props.clear()
        if tensor.name != "truncation":
            tensor.shape = type(tensor.shape)(["batch", *list(tensor.shape)[1:]])
    return made.model_proto.SerializeToString()  # type: ignore[no-any-return]


def _write_folder(folder: Path, G: Generator, plain: Generator, description: dict[str, Any]) -> None:
    """Write the Hugging Face layout. UserError if the folder holds other files."""
    folder.mkdir(parents=True, exist_ok=True)
    others = sorted(p.name for p in folder.iterdir() if p.name not in _FILES and not p.name.startswith("."))
    ours = "gan_lab_format" in read_json_object(folder / CONFIG)
    others += [name for name in _FILES if not ours and (folder / name).exists()]  # someone else's
    if others:
        raise UserError(f"out={folder} holds other files ({others[0]}); give a new folder")
    n = 64 if G.resolution <= 64 else 16
    write_picture(folder / PICTURE, generate(G, latents_of(G, range(n))), columns=int(n**0.5))
    weights = {name: tensor.detach().contiguous() for name, tensor in plain.state_dict().items()}
    write_atomically(folder / WEIGHTS, save(weights, metadata={"format": "pt"}))
    write_atomically(folder / CARD, model_card(G, description, n).encode())
    write_atomically(folder / CONFIG, json_bytes(description))


def _reloaded(out: Path, form: str, extensions: tuple[str, ...]) -> Forward:
    """Load what was written as a user would, and return its forward."""
    if form == "hub":
        return load_generator(out, extensions=extensions)
    if form == "torch":
        return read_program(out, trusted=True)
    import onnxruntime

    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])

    def forward(z: Tensor, **others: Tensor) -> Tensor:
        inputs = {name: tensor.numpy() for name, tensor in {"z": z, **others}.items()}
        return torch.from_numpy(session.run(None, inputs)[0])

    return forward


@torch.no_grad()
def _difference(G: Generator, other: Forward) -> float:
    """Return the largest difference between images of the two, over batches of 1 and 5 and two truncations.

    NaN if images of `other` are.
    """
    found = []
    for n, truncation in ((1, 1.0), (5, 1.0), (5, 0.5)):
        z, others = _inputs(G, n, truncation)
        if G.draws_noise:  # the same maps for both
            others["noise"] = tuple(torch.randn(n, 1, side, side) for side in G.noise_sides)  # type: ignore[assignment]
        found.append((other(z, **others) - G(z, **others)).abs().max())
    return float(torch.stack(found).max())  # torch's max keeps NaN
