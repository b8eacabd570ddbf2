"""Examples in docstrings run, and the reference shows every public module."""

import doctest
import importlib
from types import ModuleType

import pytest

from ._tree import FOLDERS, ROOT, package_files


@pytest.mark.parametrize("name", package_files())
def test_docstring_examples_run(name: str) -> None:
    """Every module imports without optional libraries, so none is skipped."""
    results = doctest.testmod(importlib.import_module(name))
    assert results.failed == 0


@pytest.mark.parametrize("folder", FOLDERS)
def test_public_modules_are_in_the_reference(folder: str) -> None:
    """Autodoc leaves out the modules among the public names: they need an entry of their own."""
    package = importlib.import_module(f"warmflow.{folder}")
    public = [getattr(package, name) for name in getattr(package, "__all__", ())]
    names = {package.__name__, *(x.__name__ for x in public if isinstance(x, ModuleType))}
    pages = "\n".join(page.read_text("utf-8") for page in (ROOT / "docs" / "api").glob("*.md"))
    assert {name for name in names if f".. automodule:: {name}\n" not in pages} == set()
