"""Which engine runs a sweep, and the loop over tiles of those that step tile by tile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
from array_api_compat import is_numpy_namespace

from ..backend import Backend, free_bytes, probe_cupy
from ..namespaces import to_numpy
from ..problems import DENSE_LIMIT, LeastSquares, Problem, SoftmaxRegression
from ..statistics import describe
from ..types import Array
from . import compiled
from .cells import Plan
from .least_squares import LeastSquaresEngine
from .oracles import OracleEngine

__all__ = ["Engine", "Work", "make_engine", "run"]

Progress = Callable[[float], None]
DESCRIBED_NUMBERS = 20_000_000
"""Numbers of the largest array while some cells of a tile are described (160 MB)."""
Table = dict[str, np.ndarray]
"""Arrays ``(B, saves, ...)`` by the names of the Dataset; ``status`` and ``last_step`` ``(B,)``."""


class Work(NamedTuple):
    """What is to be run, and what is to be kept of it."""

    problem: Problem
    plan: Plan
    keep_weights: bool
    thresholds: tuple[float, ...]
    progress: Progress | None


class Engine(Protocol):
    """Steps all cells of a tile; ``advance`` yields after every step that is to be saved."""

    tile: int

    def advance(self, index: Array, report: Progress | None = None) -> Iterator[tuple[int, Any]]:
        """Yield ``(step, states)`` at each saved step of the cells ``index``.

        States are :class:`.cells.Cells` or have its attributes, in the problem's namespace.
        ``report`` is called with the share of their steps that is done.
        """
        ...


def run(work: Work, backend: Backend) -> tuple[str, Table]:
    """Run all cells where ``backend`` says; return the name of the engine and its table."""
    if backend.name == "compiled":
        if compiled.suits(work.problem):
            return "compiled", compiled.run(*work)
        name, engine = make_engine(work.problem, work.plan, is_plain=False)
        return name, _run_tiles(engine, work)
    if backend.name == "cupy" and (found := run_kernels(work, backend)) is not None:
        return found
    if backend.module is not None:
        moved = work.problem.to(xp=backend.module, device=backend.device)
        work = work._replace(problem=moved)
    if backend.name == "numpy":
        name, engine = make_engine(work.problem, work.plan, is_plain=True)
        return name, _run_tiles(engine, work)
    from .portable import PortableEngine

    engine = PortableEngine(work.problem, work.plan, free_bytes(work.problem))
    return backend.name, _run_tiles(engine, work)


def run_kernels(work: Work, backend: Backend) -> tuple[str, Table] | None:
    """Run all cells in our CUDA kernels; None where they do not take the problem."""
    from . import cuda

    problem = work.problem if is_numpy_namespace(work.problem.xp) else work.problem.to(xp=np)
    if not (isinstance(problem, LeastSquares) and cuda.suits(problem)):
        return None
    device = cuda.CupyDevice(backend.module or probe_cupy()[0])
    choice = cuda.choose(problem, work.plan.rho.size, device.num_multiprocessors)
    assert choice is not None, "the kernels suit"
    return f"cuda {choice.form}", cuda.run_cuda(problem, *work[1:], device, choice)


def make_engine(problem: Problem, plan: Plan, *, is_plain: bool) -> tuple[str, Engine]:
    """Return the engine for this problem with its name: the reference where ``is_plain``."""
    is_plain = is_plain or problem.dtype != np.float64
    if isinstance(problem, LeastSquares):
        is_small = problem.num_params <= compiled.MAX_PARAMS
        if is_plain or is_small or not compiled.has_firm_ridge(problem):
            return "numpy", LeastSquaresEngine(problem, plan)
        from .iterative import IterativeEngine

        return "iterative", IterativeEngine(problem, plan)
    if isinstance(problem, SoftmaxRegression) and problem.ridge > 0 and not is_plain:
        from .softmax import SoftmaxEngine

        return "iterative", SoftmaxEngine(problem, plan)
    return "numpy", OracleEngine(problem, plan)


def _run_tiles(engine: Engine, work: Work) -> Table:
    """Run all cells, tile by tile."""
    num_cells, num_saves = work.plan.rho.size, len(work.plan.save_steps)
    table: Table = {}
    with np.errstate(all="ignore"):
        for start in range(0, num_cells, engine.tile):
            index = np.arange(start, min(start + engine.tile, num_cells))

            def report(share: float, start: int = start, size: int = index.size) -> None:
                if work.progress is not None:
                    work.progress((start + size * share) / num_cells)

            for k, (_, states) in enumerate(engine.advance(index, work.progress and report)):
                for name, values in _snapshot(work, states).items():
                    if name not in table:
                        shape = (num_cells, num_saves, *values.shape[1:])
                        table[name] = np.empty(shape, values.dtype)
                    table[name][index, k] = values
            report(1.0)
    table["status"], table["last_step"] = table["status"][:, -1], table["last_step"][:, -1]
    return table


def _snapshot(work: Work, states: Any) -> Table:
    """Return the variables of a tile at one saved step."""
    problem = work.problem
    w = problem.xp.exp(states.log_w)
    cells, length = w.shape[0], max(1, DESCRIBED_NUMBERS // _numbers_to_describe(problem))
    parts = []
    for k in range(0, cells, length):
        part = (slice(k, min(k + length, cells)), ...)
        theta, weights = states.theta[part], w[part]
        parts.append(describe(problem, theta, weights, work.thresholds, outer_loss=True))
    out = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    out["theta"] = to_numpy(states.theta)
    if states.U is not None:
        out["U"] = to_numpy(states.U)
    if work.keep_weights:
        out["w"] = to_numpy(w)
    return {**out, "status": states.status, "last_step": states.last_step}


def _numbers_to_describe(problem: Problem) -> int:
    """Return the size of the largest array per cell: logits of any samples, rows of a Hessian."""
    tests = 0 if not problem.has_test else getattr(problem, "X_test", np.empty((0, 1))).shape[0]
    rows = max(problem.num_samples, problem.num_val, tests)
    p = problem.num_params
    is_dense = isinstance(problem, LeastSquares) and p <= DENSE_LIMIT
    width = p if is_dense else getattr(problem, "num_classes", 1)
    return max(1, rows * width, p)
