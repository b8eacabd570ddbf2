r"""The limit of fast weights: everything but the weights is held, and the weights run to rest.

At held theta (and held other points) a step of a method moves the weights along a field g(w), so
that fast weights follow ``w' = -P(w) g(w)``. The field is that of the method's own ``step``, by a
geometry that hands it out; the flow is integrated until the duality gap
:math:`\langle w, g\rangle - \min_i g_i` vanishes, and Newton's method on the face certifies the
support:

.. math:: g_S(w) = c\,\mathbf 1, \qquad w_S > 0, \qquad \mathbf 1^\top w_S = 1, \qquad
    g_i(w) > c \;\text{ off } S .
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp

from ....dynamics import Problem
from ....dynamics.geometries import Geometry, Mirror
from ....dynamics.methods import Method
from ....dynamics.simplex import normalise_log
from ....dynamics.types import Array

__all__ = ["Field", "Limit", "Revealing", "fast_limit", "held_field", "held_state"]

Field = Callable[[np.ndarray], np.ndarray]
"""Weights ``(..., n)`` to the field ``(..., n)`` along whose negative they move."""

SETTLED = 1e-9
"""Duality gap, relative to the spread of the field at the start, that is rest."""
THRESHOLD = 1e-6
"""Support: weights above this share of the largest one."""
HORIZONS = tuple(10.0**k for k in range(2, 11))
"""Times at which rest is looked for, over the spread of the field at the start."""
SOLVED = 1e-5
"""Field, relative to that at the start, that counts as zero: the method sees nothing to gain."""
WORK = 60_000
"""Right-hand sides after which a flow counts as not settled."""
TOLERANCE = 1e-5
"""Of the integrator, relative and absolute, on log-weights: Newton's method ends what it began."""


@dataclass(frozen=True)
class Revealing(Mirror):
    """Mirror weights that are their own state, and whose ``step`` hands out the field."""

    def log_weights(self, s: Array) -> Array:
        raise AssertionError("the field of a method depends on the weights, not on their logs")

    def weights(self, s: Array) -> Array:
        return s

    def step(self, s: Array, g: Array, eta: Array | float) -> Array:
        return g


@dataclass(frozen=True)
class Limit:
    """Where fast weights end.

    Attributes
    ----------
    kind : {"rest", "solved", "unsettled"}
        An isolated rest point that no absent sample can invade; weights at which the field
        vanishes; neither.
    w : (n,)
        The weights; at a rest point those polished on the face.
    support : (k,) int
        Samples with weight.
    residual : float
        Spread of the field on the support, relative to that at the start.
    gap : float
        Least excess ``g_i - c`` of an absent sample, in the same units; > 0 keeps it out.
    size : float
        Largest entry of the field, in the same units.
    moved : float
        How far polishing moved the weights, in l1.
    """

    kind: str
    w: np.ndarray = field(repr=False)
    support: np.ndarray
    residual: float
    gap: float
    size: float
    moved: float


def held_state(problem: Problem, method: Method, theta: Array, w0: Array) -> Any:
    """Return the method's state at theta and w0, as it starts."""
    return method.init(problem, Mirror(), np.asarray(theta), np.log(w0), 0)


def held_field(
    problem: Problem,
    method: Method,
    state: Any,
    settle: Callable[[Any, np.ndarray], Any] | None = None,
    geometry: Geometry | None = None,
) -> Field:
    """Return the field of a method with all of its state held but the weights.

    The method must be ``order="simultaneous"``: both updates at the held state. ``settle(state,
    w)`` moves what is faster than the weights to where it rests at w. A ``geometry`` that changes
    the field has :class:`Revealing` inside.
    """
    assert method.order == "simultaneous", "another order moves theta before the field is taken"
    revealing = Revealing() if geometry is None else geometry

    def g(w: np.ndarray) -> np.ndarray:
        at = replace(state if settle is None else settle(state, w), outer=w)
        return np.asarray(method.step(problem, revealing, at).outer) + 0.0 * w

    return g


def fast_limit(g: Field, w0: Array, *, scale: float | None = None) -> Limit:
    """Return where the flow ``w' = -P(w) g(w)`` takes the weights from w0.

    ``scale`` is the spread of the field that counts as one; that at w0 when left out.
    """
    z = np.log(w0)
    scale = float(np.ptp(g(np.asarray(w0)))) if scale is None else scale
    before, used = 0.0, 0

    def ascent(t: float, z: np.ndarray) -> np.ndarray:
        w = np.exp(normalise_log(z))
        slope = g(w)
        return w @ slope - slope

    def jacobian(t: float, z: np.ndarray) -> np.ndarray:
        return differences(lambda x: _centred(g, x), z)

    for after in HORIZONS:
        run = _integrated(ascent, jacobian, (before, after / scale), z)
        z, before, used = np.asarray(normalise_log(run.y[:, -1])), after / scale, used + run.nfev
        w = np.exp(z)
        slope = g(w)
        gap = float(w @ slope - slope.min()) / scale
        found = _certified(g, w, scale, gap <= SETTLED)
        # An absent sample may still be leaving when the gap is small: then go on.
        if found.kind != "unsettled" or used > WORK or not run.success:
            break
    return found


def _integrated(
    slope: Callable[[float, np.ndarray], np.ndarray],
    jacobian: Callable[[float, np.ndarray], np.ndarray],
    span: tuple[float, float],
    z: np.ndarray,
) -> Any:
    """Return the run of SciPy's LSODA, or of its Radau where LSODA gives up."""
    options: dict[str, Any] = {"jac": jacobian, "rtol": TOLERANCE, "atol": TOLERANCE}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "lsoda")  # what it says is in `success`
        run = solve_ivp(slope, span, z, method="LSODA", **options)
    return run if run.success else solve_ivp(slope, span, z, method="Radau", **options)


def _centred(g: Field, z: np.ndarray) -> np.ndarray:
    """Return ``<w, g> - g`` for logits ``(..., n)``."""
    w = np.exp(normalise_log(z))
    slope = g(w)
    return np.asarray((w * slope).sum(axis=-1, keepdims=True) - slope)


def differences(function: Field, x: np.ndarray, step: float = 1e-5) -> np.ndarray:
    """Return the Jacobian of a function of ``(..., k)`` by central differences, in one call."""
    moves = step * np.eye(x.size)
    up, down = function(x + moves), function(x - moves)
    return np.asarray((up - down).T / (2.0 * step))


def _certified(g: Field, w: np.ndarray, scale: float, settled: bool) -> Limit:
    """Return what the end of a flow is: Newton's method on its face decides."""
    kept = np.flatnonzero(w > THRESHOLD * w.max())
    size = float(np.abs(g(w)).max()) / scale
    if size <= SOLVED and settled:
        return Limit("solved", w, kept, size, 0.0, size, 0.0)
    if not settled:
        return Limit("unsettled", w, kept, np.inf, -np.inf, size, 0.0)
    exact = polished(g, w, kept)
    slope = g(exact)
    c = slope[kept].mean()
    residual = float(np.abs(slope[kept] - c).max()) / scale
    excess = float((np.delete(slope, kept) - c).min(initial=np.inf)) / scale
    moved = float(np.abs(exact - w).sum())
    found = settled and residual < 1e-8 and excess > 0 and moved < 1e-3 and exact[kept].min() > 0
    return Limit("rest" if found else "unsettled", exact, kept, residual, excess, size, moved)


def polished(g: Field, w: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Return the rest point on the face near w, by Newton's method in ``(w_S, c)``."""
    n, k = w.size, kept.size

    def spread(inner: np.ndarray) -> np.ndarray:
        full = np.zeros((*inner.shape[:-1], n))
        full[..., kept] = inner
        return full

    x = w[kept] / w[kept].sum()
    if k == 1:
        return spread(x)
    for _ in range(20):
        slope = g(spread(x))[kept]
        c = slope.mean()
        matrix = np.zeros((k + 1, k + 1))
        matrix[:k, :k] = differences(lambda y: g(spread(y))[..., kept], x, 1e-6)
        matrix[:k, k], matrix[k, :k] = -1.0, 1.0
        target = np.append(c - slope, 1.0 - x.sum())
        move = np.linalg.lstsq(matrix, target, rcond=1e-12)[0][:k]
        if not np.isfinite(move).all() or np.abs(move).sum() > 0.1:
            break
        x = x + move
        if np.abs(move).sum() < 1e-14:
            break
    return spread(x)
