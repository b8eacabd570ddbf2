"""What a reproduction item is made of.

An item splits its work into parts: the units that are simulated, stored and, after an
interruption, found again. ``simulate`` sees a part and its data set and nothing else, so the key
of a part covers everything that its numbers depend on; a new point on a grid is a new part and
leaves the others alone. ``draw`` and ``numbers`` see the stored results of all parts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import xarray as xr
from matplotlib.figure import Figure

from .claims import Claim, Estimate, Reference
from .data import Data
from .errors import UserError
from .store import Key

__all__ = ["Assumed", "Drawing", "Item", "Part", "Results", "Variant"]

Variant = Literal["quick", "full"]


@dataclass(frozen=True, kw_only=True)
class Part:
    """Base of the settings of one part; subclasses add fields in JSON types.

    Parameters
    ----------
    seed : int
        Root seed of all streams of this part.
    """

    seed: int

    @property
    def label(self) -> str:
        """Readable name, unique within the item and fit for a file name."""
        raise NotImplementedError

    def settings(self) -> dict[str, Any]:
        """All fields except the seed, nested dataclasses as dictionaries."""
        fields = asdict(self)
        del fields["seed"]
        return fields


P = TypeVar("P", bound=Part)
Results = Mapping[P, xr.Dataset]


@dataclass(frozen=True, kw_only=True)
class Assumed:
    """A setting that the paper leaves open: its name, our choice, and why."""

    name: str
    choice: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """One figure with its caption and the tables of exactly what is plotted."""

    figure: Figure
    caption: str
    tables: Mapping[str, xr.Dataset]


@dataclass(frozen=True, kw_only=True)
class Item(Generic[P]):
    """One entry of the reproduction.

    Parameters
    ----------
    name, version : str, int
        Name on the command line; the version is raised when the numbers change on purpose.
    title, place : str
        What it shows; where the paper shows it.
    caption : str
        One or two sentences for the report.
    claims : sequence of Claim
        Statements to compare with; one whose number is missing is left out of the report, since
        an item may need data that a machine lacks.
    assumed : sequence of Assumed
        Settings that the paper leaves open.
    minutes : mapping
        Stated duration of each variant on two cores.
    parts : callable
        Variant to parts.
    data : callable
        Part to data set; drawn again whenever a key is needed, so it must be cheap.
    simulate : callable
        ``(part, data) -> Dataset``; pure.
    draw : callable
        Results to drawings by name; no computing beyond what plotting needs.
    numbers : callable
        Results to estimates by name.
    needs : tuple of str
        Extras of the package that must be installed, such as ``"torch"``: the extra and the module
        have the same name.
    """

    name: str
    version: int
    title: str
    place: str
    caption: str
    claims: Sequence[Claim]
    assumed: Sequence[Assumed]
    minutes: Mapping[Variant, float]
    parts: Callable[[Variant], Sequence[P]]
    data: Callable[[P], Data]
    simulate: Callable[[P, Data], xr.Dataset]
    draw: Callable[[Results[P]], Mapping[str, Drawing]]
    numbers: Callable[[Results[P]], Mapping[str, Estimate]]
    needs: tuple[str, ...] = ()

    def check_needs(self) -> None:
        """Raise `UserError` with its cure when an extra is missing."""
        for name in self.needs:
            if find_spec(name) is None:
                raise UserError(
                    f"--only {self.name}: needs {name}; run pip install 'warmflow[{name}]'"
                )

    def key(self, part: P, data: Data) -> Key:
        """The key under which the results of `part` are stored."""
        return Key(
            item=self.name, version=self.version, label=part.label,
            settings=part.settings(), seed=part.seed, data=data.fingerprint(),
        )  # fmt: skip

    def references(self, variant: Variant) -> dict[str, Reference]:
        """Reference numbers from ``items/<name>.json``; empty where none were recorded."""
        path = Path(__file__).parent / "items" / f"{self.name}.json"
        document = json.loads(path.read_text(encoding="utf-8"))
        entries = document["numbers"].get(variant, {})
        return {name: Reference.from_document(entry) for name, entry in entries.items()}
