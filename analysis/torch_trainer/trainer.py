"""The trainer: a method for the weights, an optimizer for theta."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...dynamics import Problem, Trajectory, checks
from ...dynamics.checkpoints import check_stored, path_of
from ...dynamics.geometries import Geometry
from ...dynamics.methods import Method, State
from ...dynamics.namespaces import to_numpy
from ...dynamics.progress import throttled
from ...dynamics.run import check_parts
from ...dynamics.simplex import uniform_log_weights
from ...dynamics.stepping import Single
from ...dynamics.torch_bridge import TorchProblem
from ...dynamics.types import Array
from .checkpoint import pack, read, unpack, write
from .loader import describe_batches, with_batches
from .log import Log
from .optimizers import Mover, mover_of
from .watch import CollapseWarning, collapse_ahead, rates_of, regime_at

if TYPE_CHECKING:
    import xarray

__all__ = ["ReweightedTrainer"]


@dataclass(frozen=True, kw_only=True)
class _Driven(Method):
    """A method whose direction for theta goes through an optimizer."""

    method: Method
    mover: Mover
    rho: float

    def init(
        self, problem: Problem, geometry: Geometry, theta: Array, outer: Array, seed: int
    ) -> State:
        return self.method.init(problem, geometry, theta, outer, seed)

    def step(self, problem: Any, geometry: Geometry, state: Any) -> Any:
        moved = self.method.step(problem, geometry, state)
        gradient = (state.theta - moved.theta) / self.rho
        w = geometry.weights(state.outer)
        return replace(moved, theta=self.mover.move(problem, state.theta, w, gradient))

    def direction(self, problem: Problem, theta: Array, w: Array) -> Array:
        return self.method.direction(problem, theta, w)


class ReweightedTrainer:
    r"""Train theta with an optimizer and the weights with a method, one step each at a time.

    .. math::

        (\hat\theta, w_{k+1}) = \mathrm{method}(\theta_k, w_k), \qquad
        \theta_{k+1} = \mathrm{optimizer}\big(\theta_k,\; (\theta_k - \hat\theta) / \rho\big).

    With ``torch.optim.SGD`` of learning rate rho this is the method itself, step by step. Points
    that a method carries beside theta move as they always do.

    Parameters
    ----------
    problem : TorchProblem
    method : Method
        With an inner step ``rho`` (a number, the scale of its direction) such as
        ``methods.ConjugateGradient(rho=0.1, eta=0.01)``. The direction is a difference divided by
        rho, known to ``eps |theta| / rho``: near a minimum use float64.
    optimizer : callable or NewtonCG
        Parameters to a ``torch.optim.Optimizer``, such as
        ``lambda params: torch.optim.Adam(params, lr=1e-3)``, or to a pair of optimizer and
        learning-rate scheduler.
    loader : torch.utils.data.DataLoader, optional
        Over the training samples: its batches, in its order, are those of a method with
        ``batch_size``. Full gradients when left out.
    geometry : Geometry, optional
        As in :func:`~warmflow.dynamics.run_method`.
    seed : int
        Root of all random numbers.
    num_logged : int
        At most so many steps are logged and analysed, evenly spaced, both ends among them.
    checkpoint : path, optional
        Written at every logged step.
    progress : callable, optional
        Called with the share of the steps that is done.

    Attributes
    ----------
    trajectory : Trajectory
        Of the logged steps, after :meth:`fit`: what :mod:`warmflow.analysis` and
        :mod:`warmflow.figures` take.

    Raises
    ------
    ValueError, TypeError
        For parts that do not fit together, named with the cure.
    """

    trajectory: Trajectory

    def __init__(
        self,
        problem: TorchProblem,
        method: Method,
        optimizer: Any,
        *,
        loader: Any = None,
        geometry: Geometry | None = None,
        seed: int = 0,
        num_logged: int = 21,
        checkpoint: str | Path | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> None:
        if not isinstance(problem, TorchProblem):
            raise TypeError(f"`problem` must be a TorchProblem; got {type(problem).__name__}.")
        self._geometry = check_parts(problem, method, geometry)
        self._seed = checks.integer("seed", seed, minimum=0)
        self._num_logged = checks.integer("num_logged", num_logged, minimum=2)
        self._rho, self._eta = rates_of(problem, method)
        self._problem, self._method = with_batches(problem, method, loader, seed)
        self._optimizer = optimizer
        self._mover = mover_of(problem, optimizer)
        self._path = path_of(checkpoint)
        if progress is not None and not callable(progress):
            raise TypeError(f"`progress` must be callable; got {progress!r}.")
        self._progress = progress

    @property
    def module(self) -> Any:
        """A copy of the module with the trained parameters, after :meth:`fit`."""
        if not hasattr(self, "trajectory"):
            raise ValueError("`module` is there after `fit`.")
        return self._problem.module_at(self.trajectory.theta[-1])

    def fit(self, num_steps: int, *, resume: bool = False) -> xarray.Dataset:
        """Train for ``num_steps`` steps in all, from the module's parameters, and return the log.

        Beside everything that a trajectory tells, the Dataset has ``R``, ``curvature`` and
        ``cosine`` at the logged steps (:func:`.watch.regime_at`). A :class:`CollapseWarning` is
        given once while the weights head for a collapse.

        Parameters
        ----------
        num_steps : int
        resume : bool
            Go on from the checkpoint, where there is one: bit for bit what an uninterrupted run
            gives. With more ``num_steps`` than before, the steps that were logged stay logged.

        Raises
        ------
        ValueError
            For a checkpoint of another run, a damaged one, or one that would be overwritten.
        """
        num_steps = checks.integer("num_steps", num_steps, minimum=1)
        began, log = time.perf_counter(), Log(num_steps, self._num_logged)
        run = self._start(log, checks.flag("resume", resume))
        tell = throttled(self._progress)
        while run.last_step < num_steps and not run.ended:
            self._observe(run, log)
            run.advance()
            tell(run.last_step / num_steps)
        self._observe(run, log, is_end=True)
        self.trajectory = self._trajectory(run, log, num_steps, time.perf_counter() - began)
        extra = {name: ("step", values) for name, values in log.columns().items()}
        return self.trajectory.to_xarray().assign(extra)

    def _start(self, log: Log, resume: bool) -> Single:
        """Return a run at its start, or where its checkpoint stands."""
        problem, geometry = self._problem, self._geometry
        self._mover = mover_of(problem, self._optimizer)
        driven = _Driven(method=self._method, mover=self._mover, rho=self._rho)
        run = Single(problem, driven, geometry)
        log_w = problem.xp.asarray(
            uniform_log_weights(problem.num_samples), dtype=problem.dtype, device=problem.device
        )
        run.start(problem.initial_theta(log_w), geometry.start(log_w), self._seed)
        stored = None if self._path is None else read(self._path, problem.device)
        if stored is not None:
            check_stored(stored["spec"], self._spec(), self._path, resume=resume, call="fit")
            if stored["log"]["steps"][-1] > log.num_steps:
                raise ValueError(
                    f"`num_steps` must be at least the {stored['log']['steps'][-1]} steps that "
                    f"`checkpoint` {self._path} has done; got {log.num_steps}."
                )
            run.state = unpack(run.state, stored["state"])
            self._mover.restore(stored["optimizer"])
            log.restore(stored["log"])
        return run

    def _observe(self, run: Single, log: Log, *, is_end: bool = False) -> None:
        """Log the present state if it is due, warn, and write the checkpoint."""
        step = run.last_step
        if not log.is_due(step, is_end):
            return
        theta, outer = run.state.theta, run.state.outer
        w = self._geometry.weights(outer)
        regime = regime_at(self._problem, self._method, theta, w / w.sum(), self._rho, self._eta)
        log.add(step, to_numpy(theta), to_numpy(self._geometry.log_weights(outer)), regime)
        text = collapse_ahead(log, self._eta)
        if text is not None and not log.warned:
            log.warned = True
            warnings.warn(text, CollapseWarning, stacklevel=3)
        if self._path is not None and not run.ended:
            state, optimizer = pack(run.state), self._mover.state()
            content = {"state": state, "optimizer": optimizer, "log": log.content()}
            write(self._path, {"spec": self._spec(), **content})

    def _spec(self) -> dict[str, str]:
        """Return what determines the run, in words that a checkpoint can be compared by."""
        return {
            "problem": self._problem.fingerprint(),
            "method": repr(self._method),
            "geometry": repr(self._geometry),
            "optimizer": self._mover.label,
            "seed": str(self._seed),
            "batches": describe_batches(self._problem),
        }

    def _trajectory(self, run: Single, log: Log, num_steps: int, seconds: float) -> Trajectory:
        """Return the logged steps as a trajectory."""
        settings = {
            "kind": "method",
            "method": type(self._method).__name__,
            "knobs": asdict(self._method) | {"rho": self._rho},
            "num_steps": num_steps,
            **{name: value for name, value in self._spec().items() if name != "problem"},
        }
        return Trajectory(
            t=np.array(log.steps),
            theta=np.stack(log.thetas),
            status=run.status,
            message=run.message or f"did {num_steps} steps.",
            problem=self._problem,
            settings=settings,
            num_evaluations=run.last_step,
            states=np.stack(log.log_weights),
            log_weights_of=lambda rows: rows,
            wall_seconds=seconds,
            time_name="step",
        )
