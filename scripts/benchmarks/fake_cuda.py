"""CUDA without a GPU: tensors that have a device, a shape and a dtype, but no numbers.

torch's FakeTensorMode runs every operator as far as its checks of devices and shapes. `FakeCuda` adds what a training
step needs besides: an answer where the program reads a number, fused optimizers, autocast, and streams. What it cannot
show are wrong numbers, and how a kernel behaves.
"""

from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.cuda.amp import common
from torch.optim import optimizer
from torch.overrides import TorchFunctionMode
from torch.utils import _foreach_utils
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from gan_lab.data import Dataset, sampler
from gan_lab.kernels import spectral
from gan_lab.metrics import functional
from gan_lab.metrics.backbones import classifier

DEVICE = torch.device("cuda", 0)
FUSED = ("aten::_fused_adam_", "aten::_fused_adamw_")  # torch 2.15 has no shape functions for these
SHIPPED = Path(classifier.__file__).parents[1] / "weights" / "shapes.safetensors"
UNLIKELY = (torch.ops.aten.le, torch.ops.aten.lt)  # "if total <= 0" asks whether something is wrong
# What is kept for the life of a process, in which no fake tensor may stay.
TABLES = (spectral._segments, spectral._count_tensor, sampler._permutation, sampler._flips)


IN_BF16 = {"conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "linear", "matmul",
           "__matmul__", "__rmatmul__", "mm", "bmm", "addmm", "baddbmm", "addbmm", "mv", "einsum", "prelu"}  # fmt: skip
IN_FP32 = {"__pow__", "__rpow__", "__rtruediv__", "pow", "reciprocal", "rsqrt", "exp", "expm1", "log", "log1p", "log2",
           "softmax", "log_softmax", "softplus", "cumsum", "cumprod", "sum", "prod", "norm", "cdist", "group_norm",
           "layer_norm", "cross_entropy", "nll_loss", "mse_loss", "l1_loss", "cosine_similarity",
           "binary_cross_entropy_with_logits", "interpolate"}  # fmt: skip


class WouldWait(RuntimeError):
    """The program reads a number of the device where a CUDA graph is captured."""


class HostTensor(RuntimeError):
    """An operator that a CUDA graph would record takes or makes a tensor on the CPU."""


class FakeCuda(TorchDispatchMode):
    """Answers what FakeTensorMode leaves open; the mode to be entered after it."""

    def __init__(self):
        super().__init__()
        self.capturing = False

    @contextmanager
    def capture(self):
        """Refuse what a CUDA graph cannot record: to read a number, and tensors on the CPU, scalars included."""
        self.capturing = True
        try:
            yield
        finally:
            self.capturing = False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func is torch.ops.prim.device.default:  # asked by C++ only
            # With a CUDA build of torch but no GPU the autograd engine raises for tensors on "cuda".
            return torch.device("meta") if args[0].fake_device.type == "cuda" else args[0].fake_device
        if torch.device(kwargs.get("device") or "cpu").type == "meta":
            kwargs["device"] = DEVICE
        if func is torch.ops.aten._local_scalar_dense.default:
            return self._number(args[0])
        if func._schema.name in FUSED:
            assert {t.device for t in _tensors(args, kwargs)} == {DEVICE}
            return None
        if func is torch.ops.aten.bincount.default:  # its length depends on the numbers, unless it is stated
            length = args[2] if len(args) > 2 else kwargs["minlength"]
            return torch.zeros(length, dtype=torch.int64, device=args[0].device)
        found = func(*args, **kwargs)
        if self.capturing and any(t.device.type != "cuda" for t in _tensors(args, kwargs, found)):
            raise HostTensor(f"{func} has a tensor on the CPU")
        if func.overloadpacket in UNLIKELY:
            found.unlikely = True
        return found

    def _number(self, tensor):
        if self.capturing:
            raise WouldWait("a number is read where a CUDA graph would be captured")
        if tensor.dtype is torch.bool:
            return not hasattr(tensor, "unlikely")
        return 1.0 if tensor.dtype.is_floating_point else 0  # whole numbers that are read are counts of what is broken


class Autocast(TorchFunctionMode):
    """Casts as `torch.autocast("cuda")` does in the functions that nets call; that itself does not see fake tensors."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = getattr(func, "__name__", "")
        kind = torch.bfloat16 if name in IN_BF16 else torch.float32 if name in IN_FP32 else None
        if kind is None or not torch.is_autocast_enabled("cuda"):
            return func(*args, **(kwargs or {}))

        def cast(tensor):
            low = tensor.device.type == "cuda" and tensor.dtype in (torch.float32, torch.bfloat16)
            return tensor.to(kind) if low else tensor

        args, kwargs = tree_map_only(torch.Tensor, cast, (args, kwargs or {}))
        return func(*args, **kwargs)


def _tensors(*trees):
    return [t for t in tree_leaves(trees) if isinstance(t, torch.Tensor)]


class Stream:
    """A stream or an event, which have nothing to order here."""

    def __init__(self, *_):
        self.device = object()  # of no other stream, real or not

    def _nothing(self, *_):
        pass

    wait_stream = wait_event = record = _nothing


def _apply(module, change, recurse=True):
    """`nn.Module._apply` without `.data`, which fake tensors of another device cannot be put into."""
    for child in module.children():
        _apply(child, change)
    for name, p in module._parameters.items():
        if p is not None:
            module._parameters[name] = torch.nn.Parameter(change(p.detach()), p.requires_grad)
    for name, buffer in module._buffers.items():
        if buffer is not None:
            module._buffers[name] = change(buffer)
    return module


def _deepcopy(tensor, memo):
    """`Tensor.__deepcopy__` without copying memory that is not there."""
    copied = tensor.detach().clone()
    if isinstance(tensor, torch.nn.Parameter):
        copied = torch.nn.Parameter(copied, tensor.requires_grad)
    return memo.setdefault(id(tensor), copied)


@contextmanager
def fake_cuda(monkeypatch):
    """Inside, torch seems to have one CUDA device, whose tensors are fake, as all others are; yields the `FakeCuda`."""
    loaded = classifier.load_classifier(SHIPPED)

    def images(dataset, split, indices):
        return torch.zeros(len(indices), dataset.channels, *[dataset.resolution] * 2, dtype=torch.uint8)

    stands_in = [
        (torch.cuda, "device_count", lambda: 1), (torch.cuda, "mem_get_info", lambda device=None: (2**40, 2**40)),
        (torch.cuda, "Stream", Stream), (torch.cuda, "Event", Stream), (torch.cuda, "current_stream", Stream),
        (torch.cuda, "stream", nullcontext), (torch.Tensor, "record_stream", lambda tensor, stream: None),
        (torch.cuda, "is_bf16_supported", lambda *_, **__: True),
        (common, "amp_definitely_not_available", lambda: False),
        (torch.random, "fork_rng", lambda devices=None, device_type="cuda": nullcontext()),
        (torch.nn.Module, "_apply", _apply),
        (FakeTensor, "is_cuda", property(lambda tensor: tensor.device.type == "cuda")),
        (FakeTensor, "data_ptr", lambda tensor: tensor.untyped_storage()._cdata + tensor.storage_offset()),
        (FakeTensor, "__deepcopy__", _deepcopy), (Dataset, "images", images),
        (classifier, "load_classifier", lambda path: loaded),
        (_foreach_utils, "_foreach_supported_types", [FakeTensor]),
        (optimizer, "_foreach_supported_types", [FakeTensor]),
        (_foreach_utils, "_get_foreach_kernels_supported_devices", lambda: ["cuda", "meta"]),
        (functional, "label_divergence", lambda counts, reference: 0.0),  # on the CPU, and as the numbers are
    ]  # fmt: skip
    for owner, name, value in stands_in:
        monkeypatch.setattr(owner, name, value, raising=False)
    for table in TABLES:
        table.cache_clear()
    try:
        with FakeTensorMode(allow_non_fake_inputs=True), FakeCuda() as device, Autocast():
            yield device
    finally:
        for table in TABLES:
            table.cache_clear()
