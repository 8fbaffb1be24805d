"""What only a GPU can show: `make test-gpu` runs this, and the other tests marked gpu.

GAN_LAB_GPU_TESTS_ON=cpu runs it without one, to try the tests themselves.
"""

import json
import os
import signal

import pytest
import torch

import gan_lab
from gan_lab.distributed.device import exact_fp32, use_tf32
from gan_lab.errors import InterruptedRun, OutOfMemoryError
from gan_lab.metrics.backbones.inception import InceptionFID
from gan_lab.nets.resnet import ResNetDiscriminator
from gan_lab.norms import SpectralNorm, advance_power_iteration, apply_weight_norm, cached_weights, effective_weights
from gan_lab.runs.checkpoint import Checkpoints
from gan_lab.runs.files import read_rows
from gan_lab.training import accelerate
from tests.distributed.rank_steps import leaves

DEVICE = os.environ.get("GAN_LAB_GPU_TESTS_ON", "cuda")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(DEVICE == "cuda" and not torch.cuda.is_available(),
                       reason="needs a CUDA device, and this machine has none"),
]  # fmt: skip
MODES = ["none", "graph"] if DEVICE == "cuda" else ["none"]


@pytest.fixture(autouse=True)
def kernels_are_chosen_as_before():
    """A run chooses them for its process."""
    cudnn = torch.backends.cudnn
    before = (
        cudnn.benchmark,
        torch.are_deterministic_algorithms_enabled(),
        torch.utils.deterministic.fill_uninitialized_memory,
    )
    yield
    cudnn.benchmark, deterministic, torch.utils.deterministic.fill_uninitialized_memory = before
    torch.use_deterministic_algorithms(deterministic)


def train(folder, data, *words):
    small = ("trainer.total_steps=40", "trainer.batch_size=8", "trainer.log_every_steps=10", "width=0.125",
             "trainer.eval_every_steps=20", "trainer.sample_every_steps=20", "metrics.num_samples=64",
             "metrics.num_real=64", "metrics.batch_size=16")  # fmt: skip
    return gan_lab.train(
        gan_lab.compose(f"data_dir={data}", f"hydra.run.dir={folder}", f"trainer.device={DEVICE}", *small, *words)
    )


def final_state(run):
    return dict(leaves(Checkpoints(run / "checkpoints", 9).latest()["state"]))


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"] if DEVICE == "cuda" else ["fp32", "bf16"])
@pytest.mark.parametrize("mode", MODES)
def test_a_run_trains_evaluates_and_ends(tmp_path, tiny_data, mode, precision, caplog):
    run = train(tmp_path / "run", tiny_data, f"trainer.precision={precision}", f"trainer.accelerate={mode}")
    summary = json.loads((run / "summary.json").read_text())
    assert summary["status"] == "finished" and summary["step"] == 40 and summary["skipped_updates"] == 0
    assert [row["step"] for row in read_rows(run / "train.jsonl")] == [10, 20, 30, 40]
    assert [row["step"] for row in read_rows(run / "metrics.jsonl")] == [0, 20, 40]
    assert (run / "samples" / "samples-00000040.png").is_file()
    assert "without graphs" not in caplog.text


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.filterwarnings("ignore")
def test_stopped_and_resumed_is_undisturbed_bit_for_bit(tmp_path, tiny_data, monkeypatch, mode, caplog):
    words = ("norm=bssn", f"trainer.accelerate={mode}", "trainer.deterministic=true")
    whole = train(tmp_path / "whole", tiny_data, *words)
    true_run, calls = accelerate.Updates.run, []

    def stopping(self, side, *arguments):
        calls.append(side)
        if side == "g" and calls.count("g") == 17:
            os.kill(os.getpid(), signal.SIGTERM)
        return true_run(self, side, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(accelerate.Updates, "run", stopping)
        with pytest.raises(InterruptedRun, match="step 17"):
            train(tmp_path / "parts", tiny_data, *words)
    parts = train(tmp_path / "parts", tiny_data, *words)
    a, b = final_state(whole), final_state(parts)
    assert a.keys() == b.keys()
    different = [k for k in a if not (torch.equal(a[k], b[k]) if isinstance(a[k], torch.Tensor) else a[k] == b[k])]
    assert different == [] and "without graphs" not in caplog.text


@pytest.mark.parametrize("norm", [SpectralNorm(), SpectralNorm(bidirectional=True, scale=1.4)])
def test_norms_are_those_of_the_cpu(norm):
    torch.manual_seed(0)
    here = apply_weight_norm(ResNetDiscriminator(32, 3, width=0.25), norm).to(memory_format=torch.channels_last)
    there = apply_weight_norm(ResNetDiscriminator(32, 3, width=0.25), norm)
    there.load_state_dict(here.state_dict())
    there = there.to(DEVICE, memory_format=torch.channels_last)
    for net in (here, there):
        advance_power_iteration(net)
        with cached_weights(net):
            sum(w.square().sum() for w in effective_weights(net).values()).backward()
    for p, q in zip(here.parameters(), there.parameters(), strict=True):
        torch.testing.assert_close(q.detach().cpu(), p.detach())
        if p.grad is not None:
            torch.testing.assert_close(q.grad.cpu(), p.grad, rtol=1e-3, atol=1e-5)
    for u, v in zip(here.buffers(), there.buffers(), strict=True):
        torch.testing.assert_close(v.cpu(), u, rtol=1e-4, atol=1e-5)


def test_features_are_those_of_the_cpu_whatever_tf32_is_set_to():
    from scripts.benchmarks.metrics import images, torch_fidelity

    net = InceptionFID(torch_fidelity("768", None).state_dict(), "768").eval()
    x = images(4, 0)
    with torch.no_grad():
        wanted = net(x)["features"]
        use_tf32(True)
        with exact_fp32(torch.device(DEVICE)):
            found = net.to(DEVICE)(x.to(DEVICE))["features"].cpu()
        use_tf32(False)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))


@pytest.mark.skipif(DEVICE == "cpu", reason="a CPU's memory is the machine's")
def test_too_large_a_batch_says_what_fits(tmp_path, tiny_data):
    torch.cuda.set_per_process_memory_fraction(min(1.0, 2**31 / torch.cuda.get_device_properties(0).total_memory))
    try:
        with pytest.raises(OutOfMemoryError, match=r"trainer\.batch_size=\d+ fits \(measured\)"):
            train(tmp_path / "run", tiny_data, "recipe=sngan_resnet", "width=1", "trainer.batch_size=4096")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()
