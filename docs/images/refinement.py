"""Draw refinement.png, of the page on sweeps: ``python docs/images/refinement.py``."""

from pathlib import Path

import numpy as np
import xarray as xr

from warmflow import figures
from warmflow.dynamics import sweep
from warmflow.dynamics.sweeps.refinement import Refinement, Refiner
from warmflow.paper_repro.data import Toy

DECADES, BUDGET, STEPS, LEVEL = ((-3, 0), (-3, 2)), 256, 300, 20.0
problem = Toy(seed=0).make().problem(1e-3)


def compute(cells: np.ndarray) -> xr.Dataset:
    parts = [
        sweep(problem, alpha=a, beta=cells[cells[:, 0] == a, 1], num_steps=STEPS)
        .stack(cell=["alpha", "beta"])
        .reset_index("cell")
        for a in np.unique(cells[:, 0])
    ]
    return xr.concat([part[["ess", "status"]] for part in parts], "cell", combine_attrs="override")


def refined(coarse: tuple[int, int], budget: int) -> tuple[xr.Dataset, np.ndarray]:
    refinement = Refinement(num_cells=budget, level=LEVEL)
    axes = [np.logspace(*span, count) for span, count in zip(DECADES, coarse, strict=True)]
    refiner, values, parts = Refiner(*axes, refinement), np.empty(0), []
    while len(cells := refiner.propose(values)):
        ds = compute(cells)
        order = np.argsort(cells[:, 0], kind="stable")
        ds = ds.isel(cell=np.argsort(order))
        parts.append(ds)
        values = np.concatenate([values, refinement.values(ds)])
    return xr.concat(parts, "cell", combine_attrs="override"), refiner.curve()


side = int(BUDGET**0.5)
grid = [np.logspace(*span, side) for span in DECADES]
uniform = compute(np.stack(np.meshgrid(*grid, indexing="ij"), axis=-1).reshape(-1, 2))
truth = refined((9, 12), 1024)[1]
with figures.style.context():
    figure = figures.style.new_figure((7.0, 3.0))
    axes = figure.subplots(1, 2, sharex=True, sharey=True)
    for ax, (name, ds) in zip(
        axes, {"uniform": uniform, "refined": refined((6, 8), BUDGET)[0]}.items(), strict=True
    ):
        figures.refined_map(ds, ax, curves=truth, limits=(1.0, 200.0))
        ax.set_title(f"{name}: {ds.sizes['cell']} cells", pad=16)
    axes[1].set_ylabel("")
    figures.style.legend_above(figure, tuple(axes))
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=150)
