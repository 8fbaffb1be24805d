"""Memory of an evaluation: what is predicted is what it takes, and the guilty part is named."""

import pytest
import torch

import gan_lab
from gan_lab.distributed.memory import Allocations
from gan_lab.errors import OutOfMemoryError
from gan_lab.metrics import evaluator, memory
from gan_lab.metrics.images import quantize
from gan_lab.metrics.memory import EvaluationNeed, check_fits, explained
from gan_lab.nets.sampling import sampler

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def exp(tiny_data):
    words = ("width=0.0625", "metrics.num_samples=600", "metrics.num_real=100", "metrics.batch_size=300")
    return gan_lab.build(gan_lab.compose(f"data_dir={tiny_data}", *words))


def peak_of(work, *arguments):
    with Allocations() as found, torch.no_grad():
        kept = work(*arguments)  # noqa: F841, so that it lives until its allocations are counted
    now = peak = 0
    for event in found.events:
        now += found.sizes[event] if event >= 0 else -found.sizes[~event]
        peak = max(peak, now)
    return peak


@pytest.fixture
def cores(monkeypatch):
    def on(count):
        for module in (memory, evaluator):
            monkeypatch.setattr(module, "idle_cores", lambda device: count)

    return on


@pytest.mark.filterwarnings("ignore")
def test_the_need_is_what_an_evaluation_takes(exp, cores):
    cores(1)
    sample = sampler(exp.G, CPU)
    need = EvaluationNeed(exp.evaluator, sample)
    taken = peak_of(exp.evaluator, sample)
    assert 0.85 * taken < need(exp.evaluator.batch_size) < 1.5 * taken
    assert need(3000) > 5 * need(300)


def test_several_cores_read_a_batch_each_while_the_next_is_drawn(exp, cores):
    sample, needs = sampler(exp.G, CPU), []
    for count in (1, 2, 3):
        cores(count)
        needs.append(EvaluationNeed(exp.evaluator, sample)(300))
    drawing = peak_of(sample, 300)
    reading = peak_of(exp.evaluator.extractor, quantize(sample(300)[0]))
    assert 0.85 * reading < needs[2] - needs[1] < 1.6 * reading  # it is a careful estimate, as above
    more = drawing + 2 * reading - max(drawing, reading)
    assert 0.85 * more < needs[1] - needs[0] < 1.6 * more


def test_a_batch_that_fits_is_named(exp, cores):
    cores(1)
    need = EvaluationNeed(exp.evaluator, sampler(exp.G, CPU))
    check_fits(exp.evaluator, need, need(300))
    with pytest.raises(OutOfMemoryError, match=r"metrics\.batch_size=300 needs about .* metrics\.batch_size=75 fits"):
        check_fits(exp.evaluator, need, need(75))
    with pytest.raises(OutOfMemoryError, match="fewer metrics.num_samples"):
        check_fits(exp.evaluator, need, 1000)


def test_an_evaluation_of_a_run_is_checked_before(exp, monkeypatch):
    sample = sampler(exp.G, CPU)
    monkeypatch.setattr(memory, "free_bytes", lambda: 10**6)
    with pytest.raises(OutOfMemoryError, match="1 MB are free"):
        memory.check(exp.evaluator, sample)
    for free in (None, 10**12):
        monkeypatch.setattr(memory, "free_bytes", lambda free=free: free)
        memory.check(exp.evaluator, sample)


def limited(most):
    """A generator on a device that holds so many images."""

    def sample(n):
        if n > most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return torch.zeros(n, 3, 32, 32)

    return sample


@pytest.mark.parametrize(
    ("most", "says"),
    [(100, r"metrics\.batch_size=300; metrics\.batch_size=75 fits \(measured\)"),
     (300, r"metrics\.batch_size=300 fits now: .* metrics\.pairwise"), (0, "nor for any smaller one")],
)  # fmt: skip
def test_sizes_are_tried_from_the_present_one_on(exp, most, says):
    with pytest.raises(OutOfMemoryError, match=says):
        raise explained(exp.evaluator, limited(most))


def test_the_evaluator_itself_says_so_and_other_errors_stay_what_they_are(exp):
    with pytest.raises(OutOfMemoryError, match=r"metrics\.batch_size=37 fits"):
        exp.evaluator(limited(40))

    def wrong(n):
        raise RuntimeError("size mismatch")

    with pytest.raises(RuntimeError, match="size mismatch"):
        exp.evaluator(wrong)
