"""The fused Adam on channels_last tensors: the papers' formulas, whatever order gradients and moments lie in."""

import copy

import pytest
import torch

from gan_lab.kernels.adam import AnnealedAdam, match_memory_order, with_flat_tensors

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


def formula(p, gradients, *, lr, betas, eps, decay, decoupled, amsgrad):
    """Adam (arXiv:1412.6980, algorithm 1) with L2 decay, or AdamW (arXiv:1711.05101, algorithm 2) if decoupled."""
    m, v, largest = torch.zeros_like(p), torch.zeros_like(p), torch.zeros_like(p)
    for t, g in enumerate(gradients, 1):
        if decoupled:
            p = p * (1 - lr * decay)
        else:
            g = g + decay * p
        m, v = betas[0] * m + (1 - betas[0]) * g, betas[1] * v + (1 - betas[1]) * g * g
        largest = torch.maximum(largest, v)
        second = (largest if amsgrad else v) / (1 - betas[1] ** t)
        p = p - lr * m / (1 - betas[0] ** t) / (second.sqrt() + eps)
    return p


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW])
@pytest.mark.parametrize("amsgrad", [False, True])
@pytest.mark.parametrize("gradients", [LAST, FIRST], ids=["alike", "in another order"])
def test_steps_are_the_formulas(kind, amsgrad, gradients):
    settings = dict(lr=0.1, betas=(0.5, 0.9), eps=1e-3)
    params = parameters(LAST)
    start = [p.detach().clone() for p in params]
    optimizer = with_flat_tensors(kind(params, fused=True, amsgrad=amsgrad, weight_decay=0.01, **settings))
    assert isinstance(optimizer, kind)
    assert type(optimizer).__name__ == kind.__name__
    given = []
    for step in range(4):
        give_gradients(params, gradients, step)
        given.append([p.grad.clone() for p in params])
        optimizer.step()
    decoupled = kind is torch.optim.AdamW
    for i, p in enumerate(params):
        own = [g[i] for g in given]
        expected = formula(start[i], own, decay=0.01, decoupled=decoupled, amsgrad=amsgrad, **settings)
        torch.testing.assert_close(p.detach(), expected, rtol=1e-12, atol=1e-12)
        assert p.stride() == start[i].stride()
        assert optimizer.state[p]["exp_avg"].shape == p.shape
        assert torch.equal(p.grad, given[-1][i])


def test_the_kernel_is_given_memory_without_copies(monkeypatch):
    seen, real = [], torch._fused_adam_
    monkeypatch.setattr(torch, "_fused_adam_", lambda *a, **k: [seen.append([*a[:4]]), real(*a, **k)])
    params = parameters(LAST)
    optimizer = with_flat_tensors(torch.optim.Adam(params, fused=True))
    give_gradients(params, LAST, 0)
    optimizer.step()
    (lists,) = seen
    assert all(t.is_contiguous() for tensors in lists for t in tensors)
    states = [optimizer.state[p] for p in params]
    whole = [params, [p.grad for p in params], [s["exp_avg"] for s in states], [s["exp_avg_sq"] for s in states]]
    assert [[t.data_ptr() for t in a] for a in lists] == [[t.data_ptr() for t in a] for a in whole]


def test_moments_of_another_order_and_copies_of_the_optimizer_go_on_alike():
    """Such moments come from a checkpoint of nets that lay otherwise."""
    results = []
    for way in ("undisturbed", "loaded", "copied"):
        params = parameters(LAST)
        optimizer = with_flat_tensors(torch.optim.Adam(params, lr=0.1, fused=True))
        for step in range(4):
            if step == 2 and way == "loaded":
                state = optimizer.state_dict()
                for moments in state["state"].values():
                    moments.update({k: v.contiguous() for k, v in moments.items()})
                optimizer = with_flat_tensors(torch.optim.Adam(params, lr=0.1, fused=True))
                optimizer.load_state_dict(state)
                match_memory_order(optimizer)
            if step == 2 and way == "copied":
                params, optimizer = copy.deepcopy((params, optimizer))
            give_gradients(params, LAST, step)
            optimizer.step()
        results.append([p.detach() for p in params])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_other_optimizers_stay_as_they_are():
    class Mine(torch.optim.Adam):
        pass

    for made in (
        torch.optim.Adam(parameters(LAST)),
        torch.optim.SGD(parameters(LAST), lr=0.1, fused=True),
        Mine(parameters(LAST), fused=True),
    ):
        kind = type(made)
        assert type(with_flat_tensors(made)) is kind


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
