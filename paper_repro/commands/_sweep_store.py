"""From the options of ``warmflow sweep`` to a sweep in its folder."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..faults import faults_of_user

if TYPE_CHECKING:
    from ...dynamics.sweeps.stored import RefinedSweep, StoredSweep
    from ..data import Recipe
    from ._options import Values

__all__ = ["OPTIONS", "open_store"]

OPTIONS = {
    "store": "--out", "num_steps": "--steps", "save_steps": "--save-steps",
    "resume=True": "--resume", "extend=True": "--extend", "executor": "--executor",
    "scheduler": "--scheduler", "seed": "--seed", "source": "--data", "axes": "--axis",
    "refine": "--refine", "num_cells": "--refine",
    "fraction": "--corruption", "kind": "--problem", "ridge": "--ridge", "n": "--n",
    "noise": "--noise", "alpha": "--alpha", "beta": "--beta", "dt": "--dt",
    "corruption": "--corruption", "backend": "--backend", "dtype": "--dtype",
    "method": "--method",
}  # fmt: skip


def open_store(args: argparse.Namespace) -> tuple[StoredSweep | RefinedSweep, Recipe]:
    """Start the sweep, or go on with the one in the folder."""
    from ...dynamics.sweeps.axes import make_grid
    from ...dynamics.sweeps.refined import as_refinement
    from ...dynamics.sweeps.stored import SweepFolder, open_refined, open_sweep
    from ..folder import new_folder

    is_started = args.out.is_dir() and _fault(SweepFolder.started, args.out) is not None
    if not (args.resume or args.extend):
        cure = "go on with it by --resume" if is_started else "choose another --out"
        new_folder(args.out, cure)
    recipe = _recipe(args)
    axes = _axes(args)
    settings = _fault(_settings, args)
    grid = _fault(make_grid, recipe, args.alpha.values(), args.beta.values(), axes, settings)
    if args.refine is not None:
        refinement = _fault(as_refinement, args.refine, grid)
        sweep = _fault(open_refined, args.out, grid, settings, refinement, resume=args.resume)
        return sweep, recipe
    stored = _fault(
        open_sweep, args.out, grid, settings, resume=args.resume, extends=args.extend,
        cells_per_unit=args.chunk_cells,
    )  # fmt: skip
    return stored, recipe


def _fault(act: Any, *args: Any, **kwargs: Any) -> Any:
    """Return what ``act`` returns; complaints about arguments go to the user."""
    with faults_of_user(OPTIONS):
        return act(*args, **kwargs)


def _recipe(args: argparse.Namespace) -> Recipe:
    """Return how problems are made where no axis says otherwise."""
    from ..data import Recipe, Request

    source = args.data if args.data in ("toy", "digits") else Recipe.absolute(args.data)
    request = Request(
        source=source, kind=args.problem, seed=args.seed if args.seeds is None else 0,
        fraction=_fixed(args.corruption, 0.0), n=_fixed(args.n, None),
        noise=_fixed(args.noise, None),
    )  # fmt: skip
    return Recipe(request=request, ridge=_fixed(args.ridge, 0.0))


def _fixed(values: Values | None, otherwise: Any) -> Any:
    """Return the one value; an axis has its own, whatever stands here."""
    return otherwise if values is None or values.is_axis else values.single


def _axes(args: argparse.Namespace) -> dict[str, tuple[Any, ...]]:
    """Return the axes beside the rates."""
    axes: dict[str, tuple[Any, ...]] = {}
    if args.seeds is not None:
        axes["seed"] = tuple(range(args.seed, args.seed + args.seeds))
    for name in ("ridge", "n", "noise", "corruption"):
        values = getattr(args, name)
        if values is not None and values.is_axis:
            axes[name] = tuple(values.values)
    for name, values in args.axis:
        if name in axes:
            raise UserError(f"--axis {name}: given twice")
        axes[name] = values
    return axes


def _settings(args: argparse.Namespace) -> Any:
    """Return what all cells have in common."""
    from ...dynamics import methods
    from ...dynamics.statistics import THRESHOLDS
    from ...dynamics.sweeps.settings import check_settings

    return check_settings(
        dt=args.dt, num_steps=args.steps, save_steps=args.save_steps, backend=args.backend,
        dtype=args.dtype, keep_weights=False, thresholds=THRESHOLDS, max_bytes=2e9, theta0=None,
        w0=None, method=None if args.method is None else getattr(methods, args.method)(),
        geometry=None, seed=args.seed if args.seeds is None else 0,
    )  # fmt: skip
