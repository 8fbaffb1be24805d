"""What can be checked of the Dockerfile without Docker: that it copies what there is, and calls what there is."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LINES = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text()).splitlines()
STEPS = [line.split(maxsplit=1) for line in LINES if line.strip() and not line.startswith("#")]


def test_every_step_is_one_that_docker_knows_and_the_first_names_a_python_we_support():
    assert {step for step, _ in STEPS} <= {"FROM", "ARG", "RUN", "WORKDIR", "COPY", "USER", "ENTRYPOINT", "CMD"}
    version = re.match(r"FROM python:3\.(\d+)-slim$", LINES[[s.startswith("FROM") for s in LINES].index(True)])[1]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"Programming Language :: Python :: 3.{version}" in project["classifiers"]
    assert "ENTRYPOINT" in dict(STEPS) and re.search(r'"(.+)"', dict(STEPS)["ENTRYPOINT"])[1] in project["scripts"]


def test_what_is_copied_exists_and_what_the_wheel_needs_is_copied():
    copied = {word for step, rest in STEPS if step == "COPY" for word in rest.split()[:-1]}
    assert all((ROOT / word).exists() for word in copied)
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = {"pyproject.toml", build["project"]["readme"], *build["project"]["license-files"]}
    needed |= set(build["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
    needed |= set(build["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"])
    assert needed <= copied


def test_the_last_user_is_not_root_and_apt_leaves_no_lists():
    assert [rest for step, rest in STEPS if step == "USER"][-1] != "root"
    assert all("rm -rf /var/lib/apt/lists" in rest for step, rest in STEPS if "apt-get install" in rest)
    assert all("--no-cache-dir" in part for _, rest in STEPS for part in re.findall(r"pip install [^;&]*", rest))
