"""A reproduction item that costs nothing and counts how often it simulates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from warmflow import figures
from warmflow.paper_repro.claims import Claim, Estimate
from warmflow.paper_repro.data import Data
from warmflow.paper_repro.item import Assumed, Drawing, Item, Part, Results, Variant


@dataclass(frozen=True, kw_only=True)
class FakePart(Part):
    """x is what the part computes with."""

    x: float

    @property
    def label(self) -> str:
        return f"x{self.x:g}-seed{self.seed}"


@dataclass
class Fake:
    """Makes items whose parts are `xs`; `simulated` lists what was computed, in order."""

    xs: Sequence[float] = (1.0, 2.0)
    simulated: list[float] = field(default_factory=list)
    fails_at: float | None = None
    interrupt_at: float | None = None
    scale: float = 1.0

    def parts(self, variant: Variant) -> Sequence[FakePart]:
        return [FakePart(seed=0, x=x) for x in self.xs]

    def data(self, part: FakePart) -> Data:
        X = self.scale * np.arange(6.0).reshape(3, 2)
        return Data(name="fake", kind="least-squares", X=X, y=X[:, 0], X_val=X, y_val=X[:, 0])

    def simulate(self, part: FakePart, data: Data) -> xr.Dataset:
        if part.x == self.interrupt_at:
            raise KeyboardInterrupt
        if part.x == self.fails_at:
            raise RuntimeError("planted\nfailure")
        self.simulated.append(part.x)
        return xr.Dataset({"y": ("k", part.x * np.arange(3.0))})

    def draw(self, results: Results[FakePart]) -> Mapping[str, Drawing]:
        figure = figures.style.new_figure()
        ax = figure.subplots()
        table = xr.concat(
            [ds.assign_coords(x=part.x).drop_attrs() for part, ds in results.items()], "x"
        )
        for ds in results.values():
            ax.plot(ds["y"])
        return {"lines": Drawing(figure=figure, caption="Lines.", tables={"lines": table})}

    def numbers(self, results: Results[FakePart]) -> Mapping[str, Estimate]:
        return {"top": Estimate(tuple(float(ds["y"].max()) for ds in results.values()))}

    def item(self, **changes: Any) -> Item[FakePart]:
        settings: dict[str, Any] = {
            "name": "toy", "version": 1, "title": "A fake", "place": "nowhere", "caption": "Fake.",
            "claims": (
                Claim(number="top", meaning="largest y", says="y is large", where="sec. 9", low=2),
                Claim(number="top", meaning="largest y, unstated"),
            ),
            "assumed": (Assumed(name="k", choice="3", reason="small"),),
            "minutes": {"quick": 0.1, "full": 1},
            "parts": self.parts, "data": self.data, "simulate": self.simulate,
            "draw": self.draw, "numbers": self.numbers,
        }  # fmt: skip
        return Item(**(settings | changes))
