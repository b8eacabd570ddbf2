r"""The entry point ``sweep``: check, and let the cells be run."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from ..geometries import Geometry
from ..methods import Method
from ..problems import Problem
from ..statistics import THRESHOLDS
from ..types import Array
from .axes import make_grid
from .computing import check_size
from .memory import in_memory
from .refined import as_refinement, refined_in_memory
from .refinement import Refinement
from .settings import check_settings

if TYPE_CHECKING:
    import xarray

__all__ = ["sweep"]


def sweep(
    problem: Problem | Callable[..., Problem],
    *,
    alpha: Any,
    beta: Any,
    dt: float = 1.0,
    num_steps: int = 3000,
    theta0: Array | None = None,
    w0: Array | None = None,
    backend: str = "auto",
    dtype: str = "float64",
    save_steps: int | Sequence[int] | None = None,
    keep_weights: bool = False,
    thresholds: Sequence[float] = THRESHOLDS,
    max_bytes: float = 2e9,
    progress: Callable[[float], None] | None = None,
    axes: Mapping[str, Any] | None = None,
    method: Method | None = None,
    geometry: Geometry | None = None,
    seed: int = 0,
    store: str | os.PathLike[str] | None = None,
    resume: bool = False,
    extend: bool = False,
    executor: Any = None,
    refine: int | Refinement | None = None,
) -> xarray.Dataset:
    r"""Run the warm-started algorithm on a grid of rates.

    .. math::

        \theta^+ = \theta - \rho\,\nabla_\theta G(\theta, w), \qquad
        \log w^+ = \log w - \eta\,\Psi(\theta, w) + \mathrm{const}, \qquad
        \rho = \alpha\,dt,\ \eta = \beta\,dt,

    both right-hand sides at the old state, for every cell (alpha, beta) from the same start.

    Parameters
    ----------
    problem : Problem or callable
        Of any array library; or a function that makes one of the values of ``axes``, such as
        ``lambda seed, noise: ...``.
    alpha, beta : float or (a,), (b,)
        Speeds of theta and of the weights, >= 0, per unit of time.
    dt : float
        Length of one Euler step in units of time.
    num_steps : int
    theta0 : (p,), optional
        ``problem.initial_theta(w0)`` when left out.
    w0 : (n,), optional
        Positive weights; uniform when left out.
    backend : {"auto", "numpy", "cupy", "torch"}
        ``"auto"`` takes a GPU if a probe of CuPy succeeds, else the fastest engine for the problem
        on the CPU, and leaves a problem on torch, CuPy or JAX arrays where it is; ``"numpy"`` is
        the plain reference; ``"torch"`` takes a CUDA device that works, else the CPU. The problem
        is moved where it has to be; ``engine`` in the provenance says who computed, and where.
    dtype : {"float64", "float32"}
    save_steps : int or sequence of int, optional
        Adds the dimension ``step``: every so many steps, start and end included, or exactly the
        given ones. Left out, only the end is kept.
    keep_weights : bool
        Whether to store the weights of every cell; see also :func:`weights`.
    thresholds : sequence of float
        Relative thresholds at which ``support`` is counted.
    max_bytes : float
        Largest size of the stored weights; more is refused.
    progress : callable, optional
        Called with the share of the work that is done, between 0 and 1.
    axes : mapping, optional
        More axes, ``{"seed": range(5), "ridge": [1e-3, 1e-2]}``: arguments of a callable
        ``problem``; ``ridge`` of any problem; knobs of ``method`` and ``geometry`` and of those
        inside them (a name that occurs twice is refused), such as
        ``entropy`` and ``l2`` of :class:`~warmflow.dynamics.geometries.Penalised` (which is the
        geometry then, unless another one is given; the axes are called ``entropy_penalty`` and
        ``l2_penalty``).
    method : Method, optional
        Another method in the place of the algorithm above; its ``rho`` and ``eta`` come from the
        grid. Slower than the engines.
    geometry : Geometry, optional
        Another geometry of the weights, with the same remark.
    seed : int
        Of the random numbers of a stochastic ``method``; an axis ``seed`` takes its place.
    store : path, optional
        A folder: every chunk of cells is stored there as soon as it is done, as
        ``sweep.zarr``, and a sweep that was killed goes on where it was.
    resume : bool
        Go on with the same sweep in ``store``; where nothing was started, start.
    extend : bool
        Like ``resume``, with the axes of both: only the new cells are computed.
    executor : {"serial", "processes", "dask"} or concurrent.futures.Executor, optional
        Who computes the chunks, one thread each; the numbers do not depend on it. A script that
        starts processes does so under ``if __name__ == "__main__":``.
    refine : int or Refinement, optional
        So many cells in all: those of the grid, and others along the curve where the weights
        collapse (or on which another quantity crosses a level). The Dataset is over ``cell`` then,
        with the coordinates ``alpha``, ``beta`` and ``level``, and with the ``boundary``.

    Returns
    -------
    xarray.Dataset
        Over ``(alpha, beta[, *axes][, step])``: ``theta, ess, entropy, support, val_loss,
        outer_loss, [test_loss], [test_accuracy], [clean_mass], [w], [U], status, last_step``. A
        cell that diverges keeps its last good state, carries its status, and harms no other. In a
        stored sweep, cells that are still missing are NaN and have the status -1.

    Raises
    ------
    ValueError, TypeError
        For an argument out of its range, an unavailable backend, or too large a request.
    """
    settings = check_settings(
        dt=dt, num_steps=num_steps, save_steps=save_steps, backend=backend, dtype=dtype,
        keep_weights=keep_weights, thresholds=thresholds, max_bytes=max_bytes, theta0=theta0,
        w0=w0, method=method, geometry=geometry, seed=seed,
    )  # fmt: skip
    grid = make_grid(problem, alpha, beta, axes, settings)
    if settings.keep_weights:
        first = grid.problem(grid.point((0,) * len(grid.extra)))
        check_size(prod(grid.shape), first, settings)
    refinement = None if refine is None else as_refinement(refine, grid)
    if store is None and executor is None:
        if resume or extend:
            raise ValueError("`store` must be given with `resume` and `extend`; got None.")
        if refinement is not None:
            return refined_in_memory(grid, settings, refinement, progress)
        return in_memory(grid, settings, progress)
    from .stored import sweep_stored

    return sweep_stored(
        grid, settings, store, resume=resume, extends=extend, executor=executor,
        progress=progress, refinement=refinement,
    )  # fmt: skip
