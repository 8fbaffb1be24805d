"""Imports go down the rooms only and make no circle; few hide in functions, each for start-up time."""

import ast
import functools
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "gan_lab"
ROOMS = [
    ["__main__"], ["cli"], ["sweep"], ["reporting"], ["use"], ["training"], ["runs"], ["builder"], ["combinations"],
    ["diagnostics"],
    ["experiment"], ["metrics"], ["augment", "penalties", "losses"], ["nets"], ["norms"], ["kernels"],
    ["schedules", "linalg"], ["data"], ["distributed"], ["config"], ["locks"], ["files"], ["progress"], ["errors"],
]  # fmt: skip
"""From the user down to what everything uses; rooms of one floor do not import each other."""
FLOOR = {room: floor for floor, rooms in enumerate(reversed(ROOMS)) for room in rooms}
LATE = {
    "cli": "a command imports what it runs, so that --help and mistakes are answered at once",
    "sweep": "a sweep is planned without torch",
    "__init__": "importing the package does not import torch",
}
"""Rooms whose functions may import, and why."""


def modules():
    """Dotted name without `gan_lab` -> path."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)] = path
    return found


MODULES = modules()


def imports(path):
    """(module of gan_lab, whether inside a function) of every import in a file."""
    tree = ast.parse(path.read_text())
    inside = {
        id(node)
        for f in ast.walk(tree)
        if isinstance(f, (ast.FunctionDef, ast.AsyncFunctionDef))
        for node in ast.walk(f)
    }
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            first, _, rest = name.partition(".")
            if first != "gan_lab":
                continue
            parts = rest.split(".") if rest else ["__init__"]
            while parts and ".".join(parts) not in MODULES:
                parts.pop()
            yield ".".join(parts) or "__init__", id(node) in inside


def room(module):
    return module.partition(".")[0]


@functools.cache
def edges():
    """Module -> its imports. Reading them all takes seconds, which collecting the tests would cost every process."""
    return {module: list(imports(path)) for module, path in MODULES.items()}


def test_every_module_is_in_a_room():
    assert {room(module) for module in MODULES} - {"__init__"} == set(FLOOR)


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down(module):
    if module == "__init__":
        return
    up = [
        other for other, _ in edges()[module]
        if other != "__init__" and room(other) != room(module) and FLOOR[room(other)] >= FLOOR[room(module)]
    ]  # fmt: skip
    assert up == []


def test_no_circles():
    """Module by module, imports inside functions included; a package's __init__ counts as importing what it exports."""
    done, path = set(), []

    def visit(module):
        if module in path:
            pytest.fail(" -> ".join([*path[path.index(module) :], module]))
        if module in done:
            return
        path.append(module)
        for other, _ in edges()[module]:
            if other not in ("__init__", module):
                visit(other)
        path.pop()
        done.add(module)

    for module in MODULES:
        if module != "__init__":
            visit(module)


def test_functions_import_only_where_start_up_time_needs_it():
    late = {module for module, found in edges().items() for _, inside in found if inside}
    assert {room(module) for module in late} <= set(LATE)


OPTIONAL = {"av", "flask", "huggingface_hub", "matplotlib", "mlflow", "nbclient", "nbformat", "onnx", "onnxruntime",
            "onnxscript", "optuna", "pandas", "sphinx", "wandb"}  # fmt: skip


def test_tests_are_collected_without_optional_packages():
    """`make test-gpu` takes what a machine has; a test that needs more asks for it by `pytest.importorskip`."""
    found = {}
    for path in Path(__file__).parent.rglob("*.py"):
        for node in ast.parse(path.read_text()).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if taken := {name.split(".")[0] for name in names} & OPTIONAL:
                found[path.name] = taken
    assert found == {}
