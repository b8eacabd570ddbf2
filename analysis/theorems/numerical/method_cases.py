"""The methods as the sparsity study takes them: what is held, what is fast, which bound holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ....dynamics import LeastSquares, Problem, methods
from ....dynamics.types import Array
from ..instances import ridge_problem
from . import plain_fields as plain
from .fast_weights import Field, held_field, held_state
from .ridge_programs import Instance

__all__ = ["CASES", "BOUNDS", "Case", "draws", "library_step", "uniform"]

BOUNDS: dict[str, Callable[[int], int]] = {
    "one": lambda p: 1,
    "p": lambda p: p,
    "quadratic": lambda p: p * (p + 3) // 2,
}
"""Largest support by family, as a function of the number of parameters."""


@dataclass(frozen=True)
class Case:
    """A method at held theta.

    Attributes
    ----------
    label : str
    family : {"one", "p", "quadratic"}
        Which bound it obeys where it is not solved.
    make : callable
        ``problem -> method``.
    plain : callable
        ``(instance, w, method, state) -> field`` by the plain formulas.
    settle : callable, optional
        ``(problem, state, w) -> state``: moves what is faster than the weights.
    """

    label: str
    family: str
    make: Callable[[LeastSquares], Any]
    plain: Callable[[Instance, np.ndarray, Any, Any], np.ndarray]
    settle: Callable[[LeastSquares, Any, np.ndarray], Any] | None = None

    def bound(self, p: int) -> int:
        """Return the largest support that the family allows."""
        return BOUNDS[self.family](p)

    def fields(self, at: Instance, w0: Array) -> tuple[Field, Field]:
        """Return the field of the method's own step, and the plain one."""
        method = self.make(at.problem)
        if isinstance(method, methods.Exact):  # nothing can be held: theta is a function of w
            return (
                lambda w: np.asarray(method.direction(at.problem, at.theta, w)),
                lambda w: self.plain(at, w, method, None),
            )
        state = self._start(at, method, w0)
        settle = None if self.settle is None else self._bound_settle(at.problem)

        def expected(w: np.ndarray) -> np.ndarray:
            return self.plain(at, w, method, state if settle is None else settle(state, w))

        return held_field(at.problem, method, state, settle), expected

    def _start(self, at: Instance, method: Any, w0: Array) -> Any:
        """Return the state at w0, its points at rest where the method carries some, theta held."""
        state = held_state(at.problem, method, at.theta, w0)
        if hasattr(state, "other"):
            return replace(state, theta=at.theta, other=at.problem.theta_star(w0))
        return replace(state, theta=at.theta)

    def _bound_settle(self, problem: LeastSquares) -> Callable[[Any, np.ndarray], Any]:
        assert self.settle is not None, "asked for by `fields` alone"
        settle = self.settle
        return lambda state, w: settle(problem, state, w)


def library_step(problem: LeastSquares, factor: float = 1.9) -> float:
    """Return an inner step in units of 1/L; below 2 it is stable at all weights."""
    return factor / float(problem.constants()[1])


def uniform(problem: Problem) -> np.ndarray:
    """Return uniform weights."""
    return np.full(problem.num_samples, 1.0 / problem.num_samples)


def draws(
    count: int, sizes: tuple[int, ...], n: int, *, far: float = 0.3, first: int = 0
) -> Iterator[Instance]:
    """Yield ridge problems with theta off the solution at uniform weights by about ``far``."""
    for seed in range(first, first + count):
        for p in sizes:
            problem = ridge_problem(seed, n, p, 1e-2)
            rng = np.random.default_rng([seed, p, 5])
            start = np.asarray(problem.theta_star(uniform(problem)))
            yield Instance(problem, start + far * rng.standard_normal(p))


def _adjoint_at(problem: LeastSquares, state: Any, w: np.ndarray) -> Any:
    return replace(state, adjoint=problem.adjoint(state.theta, w))


def _tangents_at(problem: LeastSquares, state: Any, w: np.ndarray) -> Any:
    """Return the tangents at rest: ``-H^-1 J``, rows by sample."""
    H, gamma = problem.hessian(state.theta, w), problem.per_sample_grads(state.theta)
    rows = np.swapaxes(np.linalg.solve(H, np.broadcast_to(gamma.T, (*H.shape[:-1], len(gamma)))),
                       -1, -2)  # fmt: skip
    return replace(state, tangents=-rows)


def _other_at(problem: LeastSquares, state: Any, w: np.ndarray) -> Any:
    return replace(state, other=problem.theta_star(w))


def _implicit(at: Instance, w: np.ndarray, method: Any, state: Any) -> np.ndarray:
    return plain.implicit(at, w)


def _follows(at: Instance, w: np.ndarray, method: Any, state: Any) -> np.ndarray:
    X, y = at.problem.X, at.problem.y
    theta = np.linalg.solve(plain.hessian(at.problem, w), X.T @ (w * y))
    return plain.implicit(Instance(at.problem, theta), w)


def _adjoint_held(at: Instance, w: np.ndarray, method: Any, state: Any) -> np.ndarray:
    return np.asarray(-at.gamma @ state.adjoint)


def _unit(at: Instance, w: np.ndarray, method: Any, state: Any) -> np.ndarray:
    """Return the normalised field of BOREP, whose average is that of its start."""
    slope = -at.gamma @ state.adjoint
    slope = slope - w @ slope
    return np.asarray(slope / np.abs(slope).max())


def _gap(at: Instance, w: np.ndarray, method: Any, state: Any) -> np.ndarray:
    return plain.gap(at.problem, state.theta, state.other, method.sigma)


def _unrolled(at: Instance, w: np.ndarray, method: Any, state: Any) -> np.ndarray:
    kept = getattr(method, "num_kept", None)
    return plain.unrolled(at, w, method.num_inner_steps, method.rho, kept)


def _reverse(label: str, count: int, factor: float = 1.9) -> Case:
    return Case(
        label, "quadratic",
        lambda problem: methods.ReverseMode(
            rho=library_step(problem, factor), num_inner_steps=count, cold_start=True
        ),
        _unrolled,
    )  # fmt: skip


def _one_step(label: str, family: str, factor: float) -> Case:
    return Case(
        label, family,
        lambda problem: methods.OneStep(order="simultaneous", rho=library_step(problem, factor)),
        lambda at, w, method, state: plain.unrolled(at, w, 1, method.rho) / method.rho,
    )  # fmt: skip


CASES: tuple[Case, ...] = (
    Case("Joint", "p", lambda problem: methods.Joint(rho=0.0), _implicit),
    Case("SOBA, v fast", "p", lambda problem: methods.SOBA(rho=0.0), _implicit, _adjoint_at),
    Case("RealTimeForward, Z fast", "p", lambda problem: methods.RealTimeForward(rho=0.0),
         _implicit, _tangents_at),
    Case("ConjugateGradient, K = p", "p", lambda problem: methods.ConjugateGradient(rho=0.0),
         _implicit),
    Case("Exact", "p", lambda problem: methods.Exact(), _follows),
    Case("ConjugateGradient, K = 2", "p",
         lambda problem: methods.ConjugateGradient(rho=0.0, num_cg=2),
         lambda at, w, method, state: plain.conjugate_gradient(at, w, 2)),
    Case("Neumann, K = 10", "p",
         lambda problem: methods.Neumann(rho=library_step(problem, 1.0), num_terms=10),
         lambda at, w, method, state: plain.neumann(at, w, 10, method.rho)),
    _one_step("OneStep, large rho", "p", 10.0),
    Case("Penalty", "p", lambda problem: methods.Penalty(rho=0.0, num_inner_steps=1, num_warmup=0),
         lambda at, w, method, state: plain.penalty(at, w, method.gamma)),
    Case("AugmentedLagrangian", "p",
         lambda problem: methods.AugmentedLagrangian(
            rho=0.0, mu=10.0, num_inner_steps=1, num_warmup=3),
         lambda at, w, method, state: plain.penalty(at, w, method.mu, state.multiplier)),
    Case("ConjugateGradient, K = 1", "one",
         lambda problem: methods.ConjugateGradient(rho=0.0, num_cg=1),
         lambda at, w, method, state: plain.conjugate_gradient(at, w, 1)),
    _one_step("OneStep, small rho", "one", 1e-3),
    Case("SOBA, v held", "one", lambda problem: methods.SOBA(rho=0.0), _adjoint_held),
    Case("BOREP, v and m held", "one",
         lambda problem: methods.BOREP(rho=0.0, num_warmup=0, decay=0.0), _unit),
    Case("F2SA, u held", "one", lambda problem: methods.F2SA(rho=0.0), _gap),
    Case("ScaleBiO, u held", "one", lambda problem: methods.ScaleBiO(rho=0.0), _gap),
    Case("LVHBA, u held", "one", lambda problem: methods.LVHBA(rho=0.0), _gap),
    Case("F2SA, u fast", "quadratic", lambda problem: methods.F2SA(rho=0.0), _gap, _other_at),
    _reverse("ReverseMode, T = 2", 2),
    _reverse("ReverseMode, T = 5", 5),
    Case("TruncatedReverse, 5 of 10", "quadratic",
         lambda problem: methods.TruncatedReverse(
             rho=library_step(problem), num_inner_steps=10, num_kept=5, cold_start=True),
         _unrolled),
)  # fmt: skip
"""Every method whose weights can be fast, by family; the same order in tables and figures."""
