"""Small files, short functions, every public name documented."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from ._tree import FOLDERS, ROOT, package_files

MAX_FUNCTION_LINES = 60
MAX_FILE_LINES = 400

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of the body, the docstring not counted."""
    body = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
    return (node.end_lineno or 0) - body[0].lineno + 1 if body else 0


def long_functions(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if (lines := body_lines(node)) > MAX_FUNCTION_LINES:
            yield f"{node.lineno}: {node.name} has {lines} lines"


def public_names(tree: ast.Module) -> set[str]:
    """The literal strings of ``__all__ = [...]`` and ``__all__ += [...]``."""
    names: set[str] = set()
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            names |= {x.value for x in ast.walk(node) if isinstance(x, ast.Constant)}
    return names


def undocumented(source: str) -> Iterator[str]:
    """Public functions and classes that the file defines, without a docstring."""
    tree = ast.parse(source)
    names = public_names(tree)
    for node in tree.body:
        if isinstance(node, Definition) and node.name in names and not ast.get_docstring(node):
            yield f"{node.lineno}: {node.name} has no docstring"


def python_files() -> list[Path]:
    others = (
        file for name in ("tests", "benchmarks", "docs") for file in (ROOT / name).rglob("*.py")
    )
    return [*package_files().values(), *others]


def name_of(file: Path) -> str:
    return str(file.relative_to(ROOT))


def test_functions_are_short() -> None:
    found = [
        f"{name_of(f)}:{x}" for f in python_files() for x in long_functions(f.read_text("utf-8"))
    ]
    assert found == []


def test_files_are_short() -> None:
    lines = {name_of(file): len(file.read_text("utf-8").splitlines()) for file in python_files()}
    assert {name: count for name, count in lines.items() if count > MAX_FILE_LINES} == {}


def test_public_names_are_documented() -> None:
    files = package_files().values()
    found = [f"{name_of(f)}:{x}" for f in files for x in undocumented(f.read_text("utf-8"))]
    assert found == []


def test_every_folder_declares_its_public_names() -> None:
    sources = [package_files()[f"warmflow.{name}"].read_text("utf-8") for name in FOLDERS[:3]]
    assert all(public_names(ast.parse(source)) for source in sources)


@pytest.mark.parametrize(("count", "expected"), [(60, 0), (61, 1)])
def test_planted_long_function_is_found(count: int, expected: int) -> None:
    docstring = '    """One line.\n' + "\n" * 30 + '    """\n'
    source = "def f():\n" + docstring + "    x = 1\n" * count
    assert len(list(long_functions(source))) == expected


@pytest.mark.parametrize("definition", ["def f(): pass", "class f: pass"])
def test_planted_undocumented_name_is_found(definition: str) -> None:
    assert len(list(undocumented(f"__all__ = ['f']\n{definition}"))) == 1
    assert list(undocumented(f"__all__ = ['g']\n{definition}")) == []
