"""Kept and put back: every entry of every tensor, whatever its memory looks like."""

import pytest
import torch

from gan_lab.kernels.flat import flat_groups, keep, put_back


def tensors():
    torch.manual_seed(0)
    return [
        torch.randn(()),
        torch.randn(3, 4, 2, 5),
        torch.randn(3, 4, 2, 5).to(memory_format=torch.channels_last),
        torch.randn(1, 4, 3, 3).to(memory_format=torch.channels_last),
        torch.randn(6, 1, 1, 1),
        torch.randn(4, 5).t(),
        torch.randn(4, 5)[:, ::2],  # with gaps
        torch.randn(0, 3),
        torch.arange(3),
        torch.zeros((), dtype=torch.int64),
        torch.randn(5, dtype=torch.float64),
    ]


def changed(given):
    for tensor in given:
        tensor.add_(1)


def test_the_views_are_the_tensors_in_the_order_of_memory():
    given = tensors()
    groups = flat_groups(given)
    assert sum(part.numel() for group in groups for part in group) == sum(tensor.numel() for tensor in given)
    assert sorted(len(group) for group in groups) == [1, 1, 2, 7]  # gaps; float64; int64; float32
    pointers = {part.data_ptr() for group in groups for part in group}
    assert pointers == {tensor.data_ptr() for tensor in given}


@pytest.mark.parametrize("unless", [None, False, True])
def test_puts_back_unless_told_not_to(unless):
    given = tensors()
    before = [tensor.clone() for tensor in given]
    groups = flat_groups(given)
    kept = keep(groups)
    changed(given)
    put_back(groups, kept, None if unless is None else torch.tensor(unless))
    for now, old in zip(given, before, strict=True):
        assert torch.equal(now, old + 1 if unless else old)


def test_what_is_kept_is_a_copy_even_of_one_tensor():
    given = [torch.zeros(3)]
    groups = flat_groups(given)
    kept = keep(groups)
    changed(given)
    assert torch.equal(kept[0], torch.zeros(3))


def test_not_a_number_does_not_stay():
    given = [torch.ones(3), torch.ones(2)]
    groups = flat_groups(given)
    kept = keep(groups)
    given[0].fill_(float("nan"))
    put_back(groups, kept, torch.tensor(False))
    assert all(torch.equal(tensor, torch.ones_like(tensor)) for tensor in given)


def test_nothing_to_keep():
    assert keep(flat_groups([])) == []
    put_back([], [])
