"""A recipe: from the values of a sweep's axes to the problem of one cell."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .dataset import Data
from .loading import Request, load

if TYPE_CHECKING:
    from ...dynamics import Problem

__all__ = ["Recipe"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How the problem of a cell is made; small, so that it can be sent to other processes.

    The random numbers of a cell have names under its own seed: they do not depend on what other
    cells there are.

    Parameters
    ----------
    request : Request
        What to load where no axis says otherwise.
    ridge : float
    """

    request: Request
    ridge: float

    def __call__(
        self,
        *,
        seed: int | None = None,
        ridge: float | None = None,
        n: int | None = None,
        noise: float | None = None,
        corruption: float | None = None,
    ) -> Problem:
        """Return the problem; what is None is as in the request."""
        data = self.data(seed=seed, n=n, noise=noise, corruption=corruption)
        return data.problem(self.ridge if ridge is None else ridge)

    def data(
        self,
        *,
        seed: int | None = None,
        n: int | None = None,
        noise: float | None = None,
        corruption: float | None = None,
    ) -> Data:
        """Return the data."""
        wanted = {"seed": seed, "n": n, "noise": noise, "fraction": corruption}
        chosen: dict[str, Any] = {name: v for name, v in wanted.items() if v is not None}
        return _load(replace(self.request, **chosen))

    def document(self) -> dict[str, Any]:
        """Return the recipe in JSON types; of paths the names: data are known by their content."""
        names = [Path(part).name for part in self.request.source.split(",")]
        return {**asdict(self.request), "source": ",".join(names), "ridge": self.ridge}

    @staticmethod
    def absolute(source: str) -> str:
        """Return a source that means the same in another working directory."""
        if Path(source).exists():
            return str(Path(source).resolve())
        parts = [Path(part) for part in source.split(",")]
        is_list = len(parts) > 1 and all(part.exists() for part in parts)
        return ",".join(str(part.resolve()) for part in parts) if is_list else source


@lru_cache(maxsize=4)
def _load(request: Request) -> Data:
    """Load; neighbouring cells share their data."""
    return load(request)
