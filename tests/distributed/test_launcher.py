"""The place of a process: stated by a launcher, left over in the environment, or half of it."""

import time

import pytest

from gan_lab.cli.train import train_command
from gan_lab.config.check import check
from gan_lab.config.compose import compose
from gan_lab.distributed import launch
from gan_lab.distributed.launcher import ALONE, Place, place
from gan_lab.errors import LostRankError, UserError

NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID")
WHOLE = {"RANK": "1", "WORLD_SIZE": "4", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29400"}


@pytest.fixture
def environment(monkeypatch):
    def put(**given):
        for name in NAMES:
            monkeypatch.delenv(name, raising=False)
        for name, value in given.items():
            monkeypatch.setenv(name, value)

    put()
    return put


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ALONE),
        (WHOLE, Place(1, 4)),
        ({**WHOLE, "RANK": "0", "LOCAL_RANK": "0"}, Place(0, 4)),
        ({**WHOLE, "RANK": " 3 "}, Place(3, 4)),
        ({**WHOLE, "WORLD_SIZE": "1", "RANK": "0"}, ALONE),
        ({"WORLD_SIZE": "1", "RANK": "0", "TORCHELASTIC_RUN_ID": "x"}, ALONE),
        (dict.fromkeys(NAMES, ""), ALONE),
        ({"RANK": ""}, ALONE),
        ({"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}, ALONE),
        ({"LOCAL_RANK": "3"}, ALONE),
    ],
)
def test_places_without_a_word(environment, given, expected):
    environment(**given)
    assert place() == expected


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"RANK": "1"}, "RANK=1: these environment variables are of no launcher (WORLD_SIZE, MASTER_ADDR, MASTER_PORT "
                        "are missing)"),
        ({"RANK": "first"}, "RANK=first: these"),
        ({"WORLD_SIZE": "1"}, "WORLD_SIZE=1: these"),
        ({"WORLD_SIZE": "1", "RANK": "0", "MASTER_ADDR": "h"}, "(MASTER_PORT is missing)"),
        ({**WHOLE, "WORLD_SIZE": "1"}, "RANK=1, WORLD_SIZE=1"),
        ({**WHOLE, "WORLD_SIZE": ""}, "(WORLD_SIZE is missing)"),
    ],
)  # fmt: skip
def test_stray_variables_are_ignored_and_named(environment, given, said):
    environment(**given)
    assert (place().rank, place().world) == (0, 1) and said in place().stray


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({**WHOLE, "MASTER_PORT": ""}, "asks for 4 processes, but MASTER_PORT is missing"),
        ({"WORLD_SIZE": "2"}, "RANK, MASTER_ADDR, MASTER_PORT are missing"),
        ({**WHOLE, "WORLD_SIZE": "four"}, "WORLD_SIZE=four: this environment variable of a launcher must be a whole"),
        ({**WHOLE, "WORLD_SIZE": "0"}, "WORLD_SIZE=0: this"),
        ({**WHOLE, "WORLD_SIZE": "-2"}, "WORLD_SIZE=-2: this"),
        ({**WHOLE, "RANK": "1.0"}, "RANK=1.0: this"),
        ({**WHOLE, "RANK": "4"}, "RANK=4: must be below WORLD_SIZE=4"),
        ({**WHOLE, "MASTER_PORT": "http"}, "MASTER_PORT=http: this"),
        ({**WHOLE, "MASTER_PORT": "70000"}, "MASTER_PORT=70000: must be below 65536"),
        ({**WHOLE, "LOCAL_RANK": "x"}, "LOCAL_RANK=x: this"),
    ],
)
def test_half_a_group_is_refused_in_a_sentence(environment, given, said, capsys):
    environment(**given)
    with pytest.raises(UserError) as caught:
        place()
    assert said in str(caught.value)
    assert train_command(["norm=sn"]) == 2
    assert said in capsys.readouterr().err


def test_mistakes_are_told_under_a_stray_rank_and_by_rank_0_alone_under_a_launcher(environment, capsys):
    environment(RANK="1")
    assert train_command(["norm=foo"]) == 2 and "norm=foo: no such option" in capsys.readouterr().err
    environment(**WHOLE)
    assert train_command(["norm=foo"]) == 2 and capsys.readouterr().err == ""
    environment(**{**WHOLE, "RANK": "0"})
    assert train_command(["norm=foo"]) == 2 and "norm=foo" in capsys.readouterr().err


def test_what_torchrun_cannot_start_is_refused(environment, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    environment(**{**WHOLE, "RANK": "0"})
    assert train_command(["-m", "seed=1,2"]) == 2
    assert "torchrun starts the processes of one run; for a sweep leave it out" in capsys.readouterr().err
    uneven = check(compose("trainer.batch_size=7", "trainer.device=cpu"))
    said = "trainer.batch_size=7 cannot be shared equally by the 4 processes of torchrun"
    with pytest.raises(UserError, match=said), launch.joined(uneven, print):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_peer_that_is_not_there_ends_in_a_sentence(environment, rank):
    environment(RANK=rank, WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT="29417")
    config = check(compose("trainer.rank_timeout_seconds=1", "trainer.device=cpu"))
    began = time.monotonic()
    with pytest.raises(LostRankError) as caught, launch.joined(config, print):
        pass
    said = str(caught.value)
    assert f"rank {rank} could not meet the 1 other processes at 127.0.0.1:29417 within 1 s" in said
    assert "\n" not in said and time.monotonic() - began < 60
