"""Options: every type, every kind of bad word, and the help that is made of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gan_lab.cli.help import WIDTH, help_text
from gan_lab.cli.options import data_dir, has_no_key, option, parse, positional, prefixed
from gan_lab.config.ranges import ABOVE_ZERO, one_of, whole
from gan_lab.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Options:
    """Do something.

    And say more of it.
    """

    examples: ClassVar[tuple[str, ...]] = ("", "run=a n=2")
    word: str = positional("WORD", "a word without a key", has_no_key, "none")
    run: Path = option("the folder")
    n: int = option("how many", 64, whole(1, 1000), also="old.n")
    lr: float | None = option("learning rate", None, ABOVE_ZERO, shown="what is best")
    raw: bool = option("raw weights", False)
    kind: str = option("which kind", "one", one_of("one", "two"))
    long: str = option("which of many", "a", one_of("a", "b", "c", "dd"))
    names: tuple[str, ...] = option("some names", ())
    seeds: tuple[int, ...] | None = option("some numbers", None)
    classes: tuple[int | str, ...] | None = option("some classes", None)
    data_dir: Path = data_dir()
    settings: dict[str, Any] = prefixed("metrics.", "a setting")


def test_defaults():
    assert parse(Options, ["run=a"]) == Options(
        word="none", run=Path("a"), n=64, lr=None, raw=False, kind="one", long="a", names=(), seeds=None, classes=None,
        data_dir=Options(run=Path("a")).data_dir, settings={},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "field", "value"),
    [
        (["classes=1,4-6,cat,red dog,-1,4-x"], "classes", (1, 4, 5, 6, "cat", "red dog", "-1", "4-x")),
        (["classes=[cat, 2]"], "classes", ("cat", 2)), (["classes="], "classes", None),
        (["n=1"], "n", 1), (["n=1000"], "n", 1000), (["old.n=7"], "n", 7),
        (["lr=1e-3"], "lr", 0.001), (["lr="], "lr", None), (["lr=2"], "lr", 2.0),
        (["raw=true"], "raw", True), (["raw=false"], "raw", False),
        (["kind=two"], "kind", "two"), (["names=a,b"], "names", ("a", "b")), (["names="], "names", ()),
        (["names=a,,b,"], "names", ("a", "b")), (["this"], "word", "this"), (["run=b=c"], "run", Path("b=c")),
        (["run=~/x"], "run", Path.home() / "x"), (["run=x/~"], "run", Path("x/~")),
        (["metrics.a=3", "metrics.b=null", "metrics.c=[1, x]"], "settings", {"a": 3, "b": None, "c": [1, "x"]}),
        (["seeds=7"], "seeds", (7,)), (["seeds=2-4,9,0-0"], "seeds", (2, 3, 4, 9, 0)), (["seeds="], "seeds", None),
        (["n=5", "n=6"], "n", 6),  # the last one counts
        (["n=1e2"], "n", 100), (["n=2.0"], "n", 2), (["run=$HOME/x"], "run", Path.home() / "x"),
        (["metrics.weights=~/a (1)"], "settings", {"weights": f"{Path.home()}/a (1)"}),
        (["metrics.best=1e5", "metrics.weights=null"], "settings", {"best": "1e5", "weights": None}),
        (["metrics.a=1", "metrics.a=2"], "settings", {"a": 2}),
        (["+metrics.a=1", "++metrics.weights=b c"], "settings", {"a": 1, "weights": "b c"}),  # as `train` has them
    ],
)  # fmt: skip
def test_words(words, field, value):
    assert getattr(parse(Options, ["run=a", *words]), field) == value


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "run= is missing: give the folder"),
        (
            ["run=a", "one", "two"],
            "'two' is not key=value; the keys are: run, n, lr, raw, kind, long, names, seeds, classes, data_dir, ",
        ),
        (["run=a", "rum=3"], "unknown key 'rum'; did you mean 'run'?"),
        (["run=a", "=3"], "unknown key ''; there are: classes, data_dir, kind, "),
        (["run=a", "metric.n=3"], "unknown key 'metric.n'"),
        (["run=a", "word=x"], "unknown key 'word'"),
        (["run=a", "settings=x"], "unknown key 'settings'"),
        (["run=a", "Run=x"], "unknown key 'Run'; did you mean 'run'?"),
        (["run="], "run=: must be a path"),
        (["run=~nobody-of-this-name/x"], "run=~nobody-of-this-name/x: must be a path"),
        (["run=a", "n=ten"], "n=ten: must be a whole number from 1 to 1000"),
        (["run=a", "n=0"], "n=0: must be a whole number from 1 to 1000"),
        (["run=a", "n=1001"], "n=1001: must be a whole number from 1 to 1000"),
        (["run=a", "n=2.5"], "n=2.5: must be a whole number"),
        (["run=a", "--n=2"], "--n=2: options have no dashes; write n=2"),
        (["run=a", "n="], "n=: must be a whole number"),
        (["run=a", "old.n=0"], "n=0: must be"),
        (["run=a", "lr=fast"], "lr=fast: must be a number above 0"),
        (["run=a", "lr=0"], "lr=0: must be a number above 0"),
        (["run=a", "lr=inf"], "lr=inf: must be a number above 0"),
        (["run=a", "lr=nan"], "lr=nan: must be a number above 0"),
        (["run=a", "raw=True"], "raw=True: must be true or false"),
        (["run=a", "kind=tow"], "kind=tow: must be one or two; did you mean 'two'?"),
        (["run=a", "kind=x"], "kind=x: must be one or two"),
        *(
            (["run=a", f"seeds={text}"], f"seeds={text}: must be whole numbers and ranges with commas between")
            for text in (
                "x",
                "4-2",
                "-3",
                "1,",
                "1-",
                "1--2",
                "1.5",
                "²",
                "0-1000000",
                "9223372036854775808",
                "0-9,0-999999",
            )
        ),
        *(
            (
                ["run=a", f"classes={text}"],
                f"classes={text}: must be names, whole numbers and ranges with commas between",
            )
            for text in ("cat,5-2", "1,", "cat,,2", "[]", "0-1000000", "9223372036854775808", "0-9,0-999999,cat")
        ),
        (["run=a", "metrics.a=[1"], "metrics.a=[1: the value cannot be read"),
    ],
    ids=str,
)
def test_bad_words_are_told_in_one_sentence(words, message):
    with pytest.raises(UserError) as caught:
        parse(Options, words)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@given(st.lists(st.text(max_size=20), max_size=4), st.sampled_from(["", "n=", "run=", "lr=", "raw=", "metrics.", "~"]))
def test_any_words_are_read_or_refused(texts, start):
    try:
        given = parse(Options, ["run=a", *(f"{start}{text}" for text in texts)])
    except UserError:
        return
    assert 1 <= given.n <= 1000 and (given.lr is None or given.lr > 0) and isinstance(given.run, Path)


def test_data_dir_is_the_environments(monkeypatch):
    monkeypatch.setenv("GAN_LAB_DATA", "~/sets")
    assert parse(Options, ["run=a"]).data_dir == Path.home() / "sets"
    assert parse(Options, ["run=a", "data_dir=d"]).data_dir == Path("d")
    for value in ("", None):
        monkeypatch.delenv("GAN_LAB_DATA") if value is None else monkeypatch.setenv("GAN_LAB_DATA", value)
        assert parse(Options, ["run=a"]).data_dir == Path("data")


def test_help_says_everything_that_is_declared():
    lines = help_text("gan-lab do", Options).splitlines()
    assert lines[:5] == ["usage: gan-lab do run=PATH [KEY=VALUE ...]", "", "Do something.", "", "And say more of it."]
    rows = {line.split()[0]: " ".join(line.split()[1:]) for line in lines if line.startswith("  ")}
    assert rows["WORD"] == "a word without a key (default: none)"
    assert rows["run=PATH"] == "the folder (required)"
    assert rows["n=N"] == "how many (a whole number from 1 to 1000; default: 64)"
    assert rows["lr=X"] == "learning rate (a number above 0; default: what is best)"
    assert rows["raw=true|false"] == "raw weights (default: false)"
    assert rows["kind=one|two"] == "which kind (default: one)"
    assert rows["long=TEXT"] == "which of many (a, b, c or dd; default: a)"
    assert rows["names=A,B,..."] == "some names (optional)"
    assert rows["seeds=A-B,C,..."] == "some numbers (optional)"
    assert rows["data_dir=PATH"] == "where packed datasets live (default: $GAN_LAB_DATA, else ./data)"
    assert rows["metrics.KEY=VALUE"] == "a setting (optional)"
    assert lines[-3:] == ["for example:", "  gan-lab do", "  gan-lab do run=a n=2"]
    assert max(map(len, lines)) <= WIDTH
