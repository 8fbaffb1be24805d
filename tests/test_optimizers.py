"""The fused Adam on channels_last tensors: the papers' formulas, whatever order gradients and moments lie in."""

import copy

import pytest
import torch

from gan_lab.optimizers import with_flat_tensors

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
