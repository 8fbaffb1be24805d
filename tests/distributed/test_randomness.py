"""Random numbers as a function of what they are for; several ranks draw what one process would."""

import hashlib

import pytest
import torch

from gan_lab.distributed import collectives, randomness
from gan_lab.distributed.randomness import integers, mix, normal, own_randomness, step_randomness, uniform

CPU = torch.device("cpu")


def test_a_mixed_seed_is_stable_and_differs_with_every_part():
    digest = hashlib.blake2b(b"3:grid:7", digest_size=8).digest()
    assert mix(3, "grid", 7) == int.from_bytes(digest, "little") // 2
    seeds = {mix(s, a, b) for s in (0, 1) for a in ("grid", "evaluation") for b in range(50)}
    assert len(seeds) == 200 and all(0 <= seed < 2**63 for seed in seeds)


def test_own_randomness_gives_the_callers_state_back_also_after_an_error():
    torch.manual_seed(1)
    expected = torch.randn(4)
    torch.manual_seed(1)
    with pytest.raises(ValueError), own_randomness(5, CPU):
        inside = torch.randn(3)
        raise ValueError
    assert torch.equal(torch.randn(4), expected)
    assert torch.equal(inside, torch.randn(3, generator=torch.Generator().manual_seed(5)))


def test_own_randomness_touches_no_other_device(monkeypatch):
    """A program may draw on a GPU while something is measured on the CPU."""
    seeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    with own_randomness(5, CPU):
        torch.randn(1)
    assert seeded == []


@pytest.fixture
def ranks(monkeypatch):
    """Run a block as each of some ranks in turn."""

    def run(size, block):
        found = []
        for rank in range(size):
            monkeypatch.setattr(collectives, "rank", lambda rank=rank: rank)
            monkeypatch.setattr(collectives, "size", lambda: size)
            monkeypatch.setattr(collectives, "active", lambda: size > 1)
            with step_randomness(11, 4, 0, CPU):
                found.append(block())
        assert randomness._shared is None
        return found

    return run


@pytest.mark.parametrize("draw", [normal, uniform, lambda shape, **k: integers(0, 9, shape, **k)])
def test_ranks_together_draw_the_batch_of_one_process(ranks, draw):
    (alone,) = ranks(1, lambda: draw((6, 3)))
    parts = ranks(3, lambda: draw((2, 3)))
    for rank, part in enumerate(parts):
        assert torch.equal(part, alone[rank::3])
    assert not torch.equal(parts[0], parts[1])


def test_the_batch_may_be_another_dimension_or_none(ranks):
    (alone,) = ranks(1, lambda: normal((3, 4), batch_dim=1))
    for rank, part in enumerate(ranks(2, lambda: normal((3, 2), batch_dim=1))):
        assert torch.equal(part, alone[:, rank::2])
    same = ranks(2, lambda: normal((5,), batch_dim=None))
    assert torch.equal(same[0], same[1])


def test_steps_and_updates_draw_differently():
    drawn = []
    for step, update in ((0, 0), (0, 1), (1, 0)):
        with step_randomness(2, step, update, CPU):
            drawn.append(normal((3,)))
    assert len({tuple(d.tolist()) for d in drawn}) == 3


@pytest.mark.parametrize(("device", "seeded"), [("cuda:1", 1), ("cuda", 0)])
def test_on_a_gpu_its_own_generator_and_the_cpus_are_seeded(monkeypatch, device, seeded):
    of_devices = (torch.Generator().manual_seed(7), torch.Generator().manual_seed(8))
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "default_generators", of_devices)
    number = mix(3, 0, 4, 1)
    with step_randomness(3, 4, 1, torch.device(device)):
        assert [g.initial_seed() for g in of_devices] == [number if i == seeded else 7 + i for i in (0, 1)]
        assert torch.equal(torch.rand(3), torch.rand(3, generator=torch.Generator().manual_seed(number)))
