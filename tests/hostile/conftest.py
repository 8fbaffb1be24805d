"""One sandbox for all tests here, emptied between them: an audit hook stays for the life of the process."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator

import pytest

from tests.hostile.hostile_sandbox import Case, Make, Sandbox, Verdict

collect_ignore_glob = [] if sys.platform == "linux" else ["test_*.py"]  # the sandbox reads /proc


@pytest.fixture(scope="session")
def _sandbox(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    return Sandbox(tmp_path_factory.mktemp("hostile") / "box")


@pytest.fixture
def sandbox(_sandbox: Sandbox) -> Iterator[Sandbox]:
    yield _sandbox
    _sandbox.empty()


@pytest.fixture
def keeps_the_contract(sandbox: Sandbox) -> Callable[[Make, int], None]:
    """Makes the input of a seed, and fails with its description if the code under test breaks the contract on it."""

    def check(make: Make, seed: int) -> None:
        case = make(random.Random(f"test/{seed}"), sandbox.root)
        try:
            verdict = sandbox.judge(case)
        finally:
            sandbox.empty()
        assert not verdict.faults, f"{verdict.faults} on {case.said}"

    return check


@pytest.fixture
def refused(sandbox: Sandbox) -> Callable[[Callable[[], object]], str]:
    """Does something that must be refused within the contract; returns the sentence."""

    def judge(action: Callable[[], object]) -> str:
        verdict: Verdict = sandbox.judge(Case("", action))
        assert not verdict.faults, verdict.faults
        assert not verdict.accepted
        return verdict.sentence

    return judge
