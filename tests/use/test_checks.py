"""A wrong argument of a function ends in one sentence, as on the command line, and nothing is written."""

import numpy as np
import pytest
import torch

import gan_lab
from gan_lab.config.ranges import one_of, whole
from gan_lab.errors import UserError
from gan_lab.use.checks import check, whole_numbers
from tests.use.test_generate import conditional, dcgan, stylegan2


def test_values_in_range_pass_and_others_are_named():
    check(n=(None, whole(1)), rows=(3, whole(1)), mode=("slerp", one_of("slerp", "lerp")))
    with pytest.raises(UserError, match=r"^n=0: must be a whole number from 1 to 9$"):
        check(rows=(3, whole(1)), n=(0, whole(1, 9)))
    with pytest.raises(UserError, match="^n=3: must be a whole number"):
        check(n=("3", whole(1)))
    with pytest.raises(UserError, match=r"^mode=slrp: must be slerp or lerp.*slerp"):
        check(mode=("slrp", one_of("slerp", "lerp")))


@pytest.mark.parametrize("values", [[0, 7], (0, 7), np.array([0, 7]), torch.tensor([0, 7]), range(0, 8, 7)])
def test_whole_numbers_of_any_kind(values):
    found = whole_numbers("seeds", values)
    assert found == [0, 7] and all(type(number) is int for number in found)


@pytest.mark.parametrize("values", [[], np.array([]), [0.5], np.array([1.0]), ["1"], "1", 3, None])
def test_other_values_are_no_whole_numbers(values):
    with pytest.raises(UserError, match="^seeds=.*: (must be whole numbers|give at least one number)"):
        whole_numbers("seeds", values)


@pytest.mark.parametrize(
    ("function", "how", "told"),
    [
        ("sample", {"n": 0}, "n=0: must be a whole number from 1"), ("sample", {"n": -3}, "n=-3: must be"),
        ("sample", {"seeds": []}, "seeds=[]: give at least one"),
        ("sample", {"n": 2.0}, "n=2.0: must be a whole number"), ("nearest", {"k": 2.0}, "k=2.0: must be"),
        ("sample", {"seed": 2**63 - 1, "n": 2}, "seed=9223372036854775808: must be a whole number from 0 to 2^63-1"),
        ("sample", {"seeds": [3, -1]}, "seeds=-1: must be a whole number from 0 to 2^63-1"),
        ("sample", {"truncation": float("nan")}, "truncation=nan: must be from 0"),
        ("interpolate", {"truncation": 5}, "truncation=5: must be from 0"),
        ("sample", {"device": "gpu"}, "device=gpu: must be auto, cpu, cuda"),
        ("sample", {"batch_size": -1}, "batch_size=-1: must be"),
        ("sample", {"batch_size": 0}, "batch_size=0: must be"),
        ("sample", {"format": "gif"}, "format=gif: must be png,"),
        ("sample", {"standing_statistics": -1}, "standing_statistics=-1: must be"),
        ("interpolate", {"frames": -1}, "frames=-1: must be"), ("interpolate", {"frames": 0}, "frames=0: must be"),
        ("interpolate", {"fps": 0}, "fps=0: must be"), ("interpolate", {"scale": -1}, "scale=-1: must be"),
        ("interpolate", {"mode": "slrp"}, "mode=slrp: must be slerp or lerp"),
        ("interpolate", {"space": "w+"}, "space=w+: must be z or w"),
        ("mix_styles", {"rows": []}, "rows=[]: give at least one"), ("mix_styles", {"columns": []}, "columns=[]: give"),
        ("mix_styles", {"scale": 0}, "scale=0: must be"),
        ("directions", {"steps": 0}, "steps=0: must be a whole number from 2"),
        ("directions", {"k": 0}, "k=0: must be"),
        ("directions", {"seeds": []}, "seeds=[]: give at least one"),
        ("directions", {"scale": -1}, "scale=-1: must be"),
        ("nearest", {"n": 0}, "n=0: must be"), ("nearest", {"first": "seed"}, "first=seed: must be nearest or seeds"),
        ("nearest", {"k": 0}, "k=0: must be"), ("nearest", {"rows": 0}, "rows=0: must be"),
        ("project", {"n": 0}, "n=0: must be"), ("project", {"steps": 0}, "steps=0: must be"),
        ("project", {"space": "W"}, "space=W: must be z, w or w+"),
        ("project", {"split": "tset"}, "split=tset: must be"),
    ],
)  # fmt: skip
def test_arguments_out_of_range(function, how, told, tmp_path):
    with pytest.raises(UserError) as error:
        getattr(gan_lab, function)(stylegan2(), out=tmp_path / "a.png", **how)
    assert str(error.value).startswith(told) and "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_callers_generator_keeps_its_mode(tmp_path):
    G = stylegan2().train()
    G.mapping.eval()
    before = [part.training for part in G.modules()]
    gan_lab.sample(G, tmp_path / "a.png", 2, device="cpu")
    gan_lab.interpolate(G, tmp_path / "b.png", (0, 1), frames=2, device="cpu")
    gan_lab.mix_styles(G, tmp_path / "c.png", [0], np.array([1]), device="cpu")
    gan_lab.directions(G, tmp_path / "d.png", 1, np.array([0]), steps=2, device="cpu")
    assert [part.training for part in G.modules()] == before
    assert len(list(tmp_path.iterdir())) == 4


def test_numbers_of_numpy_and_torch_give_the_same_files(tmp_path):
    G = conditional()
    gan_lab.sample(G, tmp_path / "a", seeds=[0, 1], classes=[1, 2], device="cpu")
    gan_lab.sample(G, tmp_path / "b", seeds=np.arange(2), classes=np.array([1, 2]), device="cpu")
    gan_lab.sample(G, tmp_path / "c", seeds=torch.arange(2), classes=torch.tensor([1, 2]), device="cpu")
    a, b, c = ({file.name: file.read_bytes() for file in (tmp_path / name).iterdir()} for name in "abc")
    assert a == b == c and sorted(a) == [f"00000{s}-class{k}.png" for s in (0, 1) for k in (1, 2)]
    gan_lab.sample(dcgan(), tmp_path / "d", 1, format="jpeg", device="cpu")
    assert [file.name for file in (tmp_path / "d").iterdir()] == ["000000.jpeg"]
    for classes in (np.array([1, 2]), torch.tensor([1, 2]), [1, 2]):
        gan_lab.interpolate(G, tmp_path / "e.png", [0], classes, frames=2, device="cpu")
