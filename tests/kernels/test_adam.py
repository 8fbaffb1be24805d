"""Adam whose betas follow schedules, against the paper's formula; states that another device or layout saved."""

import pytest
import torch

from gan_lab.kernels.adam import AnnealedAdam, load_state

LAST, FIRST = torch.channels_last, torch.contiguous_format
SHAPES = [(4, 3, 3, 3), (5, 2, 1, 1), (6, 4), (7,), (2, 3, 4, 4)]


def parameters(layout):
    torch.manual_seed(0)
    made = [torch.randn(shape, dtype=torch.float64) for shape in SHAPES]
    return [torch.nn.Parameter(p.contiguous(memory_format=layout) if p.dim() == 4 else p) for p in made]


def give_gradients(params, layout, seed):
    torch.manual_seed(seed)
    for p in params:
        grad = torch.randn(p.shape, dtype=torch.float64)
        p.grad = grad.contiguous(memory_format=layout) if p.dim() == 4 else grad


@pytest.mark.parametrize("fused", [False, True])
def test_a_state_of_another_memory_order_and_implementation_goes_on_alike(fused):
    """Such states come from checkpoints of nets that lay otherwise, or of another device."""
    results = []
    for loaded in (False, True):
        params = parameters(LAST)
        optimizer = torch.optim.Adam(params, lr=0.1, fused=fused)
        for step in range(4):
            if step == 2 and loaded:
                state = optimizer.state_dict()
                for moments in state["state"].values():
                    moments.update({k: v.contiguous() for k, v in moments.items()})
                state["param_groups"][0].update(fused=not fused, foreach=None, lr=0.2)
                optimizer = torch.optim.Adam(params, lr=0.1, fused=fused)
                load_state(optimizer, state)
                assert optimizer.param_groups[0]["fused"] is fused
                assert optimizer.param_groups[0]["lr"] == 0.2
                assert all(optimizer.state[p]["exp_avg"].stride() == p.stride() for p in params)
                optimizer.param_groups[0]["lr"] = 0.1
            give_gradients(params, LAST, step)
            optimizer.step()
        results.append([p.detach() for p in params])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_state_keeps_its_own_dtype():
    """Torch gives it that of the parameter, which an optimizer of a user's own may not want."""
    p = torch.nn.Parameter(torch.zeros(3))
    p.grad = torch.ones(3)
    saved, loaded = (torch.optim.SGD([p], lr=0.1, momentum=0.9) for _ in range(2))
    saved.step()
    own = {"fine": torch.tensor([1 / 3] * 3, dtype=torch.float64), "seen": torch.tensor([2**30 + 1])}
    saved.state[p].update(own, count=3)
    load_state(loaded, saved.state_dict())
    assert loaded.state[p]["count"] == 3
    for name, value in own.items():
        assert loaded.state[p][name].dtype == value.dtype and torch.equal(loaded.state[p][name], value)
        assert loaded.state[p][name].data_ptr() != value.data_ptr()
    assert torch.equal(loaded.state[p]["momentum_buffer"], torch.ones(3))


def annealed(counts=None):
    """Five steps with betas that rise and a falling lr, step 2 with `counts` false; the parameters and the moments."""
    params = parameters(FIRST)
    optimizer = AnnealedAdam(params, lr=0.1, betas=(0.0, 0.9))
    for step in range(5):
        for group in optimizer.param_groups:
            group["lr"], group["betas"] = (
                torch.tensor(0.1 / (1 + step), dtype=torch.float64),
                (0.1 * step, 0.9 + 0.02 * step),
            )
        optimizer.fill_betas()
        give_gradients(params, FIRST, step)
        if counts is not None:
            optimizer.found_inf = torch.tensor(float(step in counts))
            if step in counts:
                params[0].grad.fill_(torch.nan)
        optimizer.step()
    return params, optimizer


def annealed_formula(steps):
    """arXiv:1412.6980, algorithm 1, with the present betas; t counts the steps taken."""
    params = [p.detach().clone() for p in parameters(FIRST)]
    m, v = ([torch.zeros_like(p) for p in params] for _ in range(2))
    for t, step in enumerate(steps, 1):
        twins = [torch.nn.Parameter(p) for p in params]
        give_gradients(twins, FIRST, step)
        b1, b2, lr = 0.1 * step, 0.9 + 0.02 * step, 0.1 / (1 + step)
        for i, twin in enumerate(twins):
            m[i] = b1 * m[i] + (1 - b1) * twin.grad
            v[i] = b2 * v[i] + (1 - b2) * twin.grad**2
            params[i] = params[i] - lr * (m[i] / (1 - b1**t)) / ((v[i] / (1 - b2**t)).sqrt() + 1e-8)
    return params


@pytest.mark.parametrize("skipped", [None, (), (2,), (0,), (0, 4)])
def test_annealed_betas_are_the_formula_and_a_step_that_does_not_count_leaves_no_trace(skipped):
    params, optimizer = annealed(skipped)
    steps = [s for s in range(5) if s not in (skipped or ())]
    for found, wanted in zip(params, annealed_formula(steps), strict=True):
        torch.testing.assert_close(found.detach(), wanted, rtol=1e-6, atol=1e-7)
    assert all(float(state["step"]) == len(steps) for state in optimizer.state.values())


def test_annealed_adam_with_constant_betas_is_torchs():
    ours, theirs = parameters(FIRST), parameters(FIRST)
    pair = AnnealedAdam(ours, 0.05, (0.5, 0.999)), torch.optim.Adam(theirs, 0.05, (0.5, 0.999))
    for step in range(4):
        for params, optimizer in zip((ours, theirs), pair, strict=True):
            give_gradients(params, FIRST, step)
            optimizer.step()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)
