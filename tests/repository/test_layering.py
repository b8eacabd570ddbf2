"""Imports run one way: dynamics <- analysis <- figures <- paper_repro, without cycles."""

from collections.abc import Callable, Iterable
from graphlib import CycleError, TopologicalSorter

import pytest

from ._tree import FOLDERS, ROOT, Import, imports, package_files

BOTTOM = {
    f"warmflow.dynamics.{name}" for name in ("types", "status", "checks", "linalg", "simplex")
}
OWN_FILES = {
    "argparse": ("/paper_repro/",),
    "cupy": ("/backend.py",),
    "torch": ("/backend.py", "/torch_bridge/", "/torch_trainer/", "/paper_repro/networks/"),
}
LAZY = ("cupy", "torch")

Rule = Callable[[str, Import, set[str]], str | None]


def resolve(item: Import, modules: set[str]) -> str | None:
    """Name the module of the package that an import reads, or None for a library."""
    if item.full in modules:
        return item.full
    return item.target if item.target in modules else None


def folder(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[0] == "warmflow" and parts[1] in FOLDERS else None


def points_down(module: str, item: Import, modules: set[str]) -> str | None:
    home, away = folder(module), folder(item.full)
    if home and away and FOLDERS.index(away) > FOLDERS.index(home):
        return f"{home} must not import {away}"
    return None


def is_relative(module: str, item: Import, modules: set[str]) -> str | None:
    if item.target.split(".")[0] == "warmflow" and not item.relative:
        return "imports inside the package are relative"
    return None


def exists(module: str, item: Import, modules: set[str]) -> str | None:
    if item.target.split(".")[0] == "warmflow" and resolve(item, modules) is None:
        return "no such module"
    return None


def rests_on_bottom(module: str, item: Import, modules: set[str]) -> str | None:
    away = resolve(item, modules)
    if module in BOTTOM and away is not None and away not in BOTTOM:
        return "a bottom module imports only other bottom modules"
    return None


def stays_in_own_file(module: str, item: Import, modules: set[str]) -> str | None:
    """A library with a file of its own is imported there only, also by way of array_api_compat."""
    path = f"/{module.replace('.', '/')}.py"
    for part in {*item.full.split(".")} & OWN_FILES.keys():
        if not item.relative and not any(own in path for own in OWN_FILES[part]):
            return f"{part} is imported only in {', '.join(OWN_FILES[part])}"
    return None


def is_lazy(module: str, item: Import, modules: set[str]) -> str | None:
    heavy = not item.relative and {*item.full.split(".")} & {*LAZY}
    if heavy and not item.lazy and not item.type_only:
        return f"{heavy.pop()} is imported inside functions only"
    return None


def no_folder_name(module: str, item: Import, modules: set[str]) -> str | None:
    top = item.target.split(".")[0]
    if top in FOLDERS and not item.relative:
        return f"say warmflow.{top}: {top} is no top-level name"
    return None


RULES: tuple[Rule, ...] = (
    points_down,
    is_relative,
    exists,
    rests_on_bottom,
    stays_in_own_file,
    is_lazy,
    no_folder_name,
)


def violations(
    sources: dict[str, str], rules: Iterable[Rule] = RULES, packages: frozenset[str] = frozenset()
) -> list[str]:
    found = []
    for module, source in sources.items():
        for item in imports(source, module, module in packages):
            complaints = (rule(module, item, set(sources)) for rule in rules)
            found += [f"{module}:{item.line}: {item.full}: {text}" for text in complaints if text]
    return found


def cycle(sources: dict[str, str], packages: frozenset[str] = frozenset()) -> list[str]:
    """Return one import cycle, lazy imports counted, imports for type checkers not."""
    modules = set(sources)
    graph = {
        module: {
            away
            for item in imports(source, module, module in packages)
            if not item.type_only and (away := resolve(item, modules)) is not None
        }
        for module, source in sources.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def tree() -> tuple[dict[str, str], frozenset[str]]:
    files = package_files()
    sources = {module: file.read_text(encoding="utf-8") for module, file in files.items()}
    return sources, frozenset(m for m, file in files.items() if file.name == "__init__.py")


def test_package_obeys_every_rule() -> None:
    sources, packages = tree()
    assert {f"warmflow.{name}" for name in FOLDERS} <= packages
    assert violations(sources, packages=packages) == []


def test_package_has_no_import_cycle() -> None:
    assert cycle(*tree()) == []


def test_nothing_else_imports_a_folder_as_a_top_level_name() -> None:
    files = [
        file for name in ("tests", "benchmarks", "docs") for file in (ROOT / name).rglob("*.py")
    ]
    sources = {str(file.relative_to(ROOT)): file.read_text(encoding="utf-8") for file in files}
    assert len(sources) >= 5
    assert violations(sources, [no_folder_name]) == []


PLANTED = [
    (points_down, "warmflow.dynamics.flows", "from ..analysis import ess"),
    (points_down, "warmflow.analysis.diagnosis", "def f():\n    from .. import figures"),
    (
        points_down,
        "warmflow.figures.style",
        "import importlib as i\ni.import_module('..paper_repro')",
    ),
    (is_relative, "warmflow.analysis.diagnosis", "from warmflow.dynamics import ess"),
    (exists, "warmflow.analysis.diagnosis", "from ..dynamics.no_such_module import ess"),
    (rests_on_bottom, "warmflow.dynamics.simplex", "from .flows import integrate"),
    (rests_on_bottom, "warmflow.dynamics.checks", "from . import flows"),
    (stays_in_own_file, "warmflow.dynamics.flows", "def f():\n    import argparse"),
    (stays_in_own_file, "warmflow.dynamics.flows", "def f():\n    import cupy"),
    (stays_in_own_file, "warmflow.dynamics.flows", "def f():\n    import array_api_compat.torch"),
    (stays_in_own_file, "warmflow.analysis.diagnosis", "def f():\n    from torch import nn"),
    (is_lazy, "warmflow.dynamics.backend", "import cupy"),
    (is_lazy, "warmflow.dynamics.torch_bridge.problem", "import torch.nn as nn"),
    (no_folder_name, "warmflow.analysis.diagnosis", "from dynamics import ess"),
    (no_folder_name, "tests/analysis/test_ess.py", "import analysis"),
    (no_folder_name, "tests/analysis/test_ess.py", "__import__('figures.style')"),
]
LAWFUL = [
    ("warmflow.analysis.diagnosis", "from ..dynamics import flows\nfrom .. import __version__"),
    ("warmflow.dynamics.simplex", "from .types import Array"),
    ("warmflow.dynamics.torch_bridge.problem", "def f():\n    import torch.nn as nn"),
    ("warmflow.dynamics.backend", "import typing\nif typing.TYPE_CHECKING:\n    import cupy"),
    ("warmflow.paper_repro.cli", "import argparse\nfrom .. import figures"),
    ("tests/analysis/test_ess.py", "from warmflow import analysis"),
]
SKELETON = dict.fromkeys(
    [
        "warmflow",
        *(f"warmflow.{name}" for name in FOLDERS),
        "warmflow.dynamics.flows",
        "warmflow.dynamics.types",
    ],
    "",
)


@pytest.mark.parametrize(("rule", "module", "source"), PLANTED)
def test_planted_violation_is_found(rule: Rule, module: str, source: str) -> None:
    found = violations(SKELETON | {module: source}, [rule])
    assert len(found) == 1
    assert found[0].startswith(f"{module}:")


@pytest.mark.parametrize(("module", "source"), LAWFUL)
def test_lawful_import_passes(module: str, source: str) -> None:
    rules = [no_folder_name] if module.startswith("tests") else RULES
    assert violations(SKELETON | {module: source}, rules) == []


def test_planted_cycle_is_found() -> None:
    sources = SKELETON | {
        "warmflow.dynamics.flows": "from .sweeps import sweep",
        "warmflow.dynamics.sweeps": "def f():\n    from . import flows",
    }
    assert set(cycle(sources)) == {"warmflow.dynamics.flows", "warmflow.dynamics.sweeps"}


def test_import_for_type_checkers_closes_no_cycle() -> None:
    sources = SKELETON | {
        "warmflow.dynamics.flows": "from .sweeps import sweep",
        "warmflow.dynamics.sweeps": "if TYPE_CHECKING:\n    from .flows import integrate",
    }
    assert cycle(sources) == []
