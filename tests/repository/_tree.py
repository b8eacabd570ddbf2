"""The repository as the tests see it: its root, its modules and what each of them imports."""

import ast
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("dynamics", "analysis", "figures", "paper_repro")


@dataclass(frozen=True, kw_only=True)
class Import:
    """One imported name: ``target`` is absolute, relative levels resolved."""

    target: str
    name: str | None
    line: int
    relative: bool
    lazy: bool
    type_only: bool

    @property
    def full(self) -> str:
        return self.target if self.name is None else f"{self.target}.{self.name}"


def package_files() -> dict[str, Path]:
    """Map the dotted name of every module, such as ``warmflow.dynamics.simplex``, to its file."""
    package = ROOT / "warmflow"
    starts = [package / folder for folder in FOLDERS]
    files = [*package.glob("*.py"), *(file for start in starts for file in start.rglob("*.py"))]
    return {module_name(file, package.parent): file for file in sorted(files)}


def module_name(file: Path, root: Path) -> str:
    parts = file.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(source: str, module: str = "module", is_package: bool = False) -> list[Import]:
    """All imports of a source text, ``importlib.import_module("literal")`` among them."""
    package = module if is_package else module.rpartition(".")[0]
    return list(_walk(ast.parse(source), package, lazy=False, type_only=False))


def _walk(node: ast.AST, package: str, lazy: bool, type_only: bool) -> Iterator[Import]:
    flags = {"lazy": lazy, "type_only": type_only}
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(target=alias.name, name=None, line=node.lineno, relative=False, **flags)
    elif isinstance(node, ast.ImportFrom):
        target = _absolute(node.module or "", node.level, package)
        for alias in node.names:
            yield Import(
                target=target, name=alias.name, line=node.lineno, relative=node.level > 0, **flags
            )
    elif (text := _dynamic(node)) is not None:
        level = len(text) - len(text.lstrip("."))
        target = _absolute(text[level:], level, package)
        yield Import(target=target, name=None, line=node.lineno, relative=level > 0, **flags)
    lazy = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    guarded = isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
    body = node.body if guarded else ()
    for child in ast.iter_child_nodes(node):
        yield from _walk(child, package, lazy, type_only or child in body)


def _absolute(module: str, level: int, package: str) -> str:
    if level == 0:
        return module
    base = package.split(".")[: len(package.split(".")) - level + 1]
    return ".".join([*base, module] if module else base)


def _dynamic(node: ast.AST) -> str | None:
    """Return the literal argument of ``import_module(...)`` or ``__import__(...)``."""
    if not (isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant)):
        return None
    function = ast.unparse(node.func).rpartition(".")[2]
    value = node.args[0].value
    return value if function in ("import_module", "__import__") and isinstance(value, str) else None


def repository_files() -> list[str]:
    """List the files that git tracks or would track, links as links; skip outside a checkout."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("needs git and a checkout of the repository")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    present = (name for name in listed.split("\0") if name)
    return sorted(name for name in present if (ROOT / name).is_symlink() or (ROOT / name).exists())
