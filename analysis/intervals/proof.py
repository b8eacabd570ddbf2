"""Computer-assisted proofs about rest points of the flow at frozen theta."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...dynamics import Problem, checks
from ...dynamics.simplex import support as support_mask
from ...dynamics.types import Array
from ..optimality import checked_problem, checked_weights
from .arithmetic import (
    ball,
    flint,
    is_hurwitz,
    is_positive_definite,
    lower,
    precision,
    upper,
)
from .enclosure import FrozenBalls, RestPointSystem
from .krawczyk import enclose_zero, krawczyk

__all__ = ["PRECISIONS", "RestPointProof", "prove_rest_point"]

PRECISIONS = (53, 106, 212)
"""Bits of the mid-points, tried in turn."""

NEWTON_STEPS = 30
"""Newton steps from the float candidate; what they reach is a guess that the proof then judges."""

LARGEST_SHRINKING = 40
"""How often the box in which uniqueness is tried may be divided by 4."""


@dataclass(frozen=True)
class RestPointProof:
    """What was proved about a rest point of the frozen flow, and with which numbers.

    Attributes
    ----------
    proved : bool
        Whether all of ``steps`` were shown: an attracting rest point exists. False says nothing
        about the rest point.
    reason : str
        The first step that did not go through, or that grad F may vanish; empty when proved.
    support : tuple of int
        S, the samples with positive weight.
    weights : (n,)
        Centre of the enclosure; zero off S.
    weight_radius : float
        The rest point is within this distance of ``weights``, in every entry.
    unique_radius : float
        It is the only rest point with support S within this distance of ``weights``, in every
        entry (sup norm).
    field_value : (float, float)
        Enclosure of ``c = <w, Psi>``.
    gaps : (n,)
        Proved lower bounds of ``Psi_i - c`` for samples off S; NaN on S. Times beta, they are rates
        at which absent samples die out.
    field_low, field_high : (n,)
        Enclosure of ``Psi`` at the rest point.
    precision : int
        Bits of the last attempt.
    steps : dict of str to bool
        ``exists`` (one rest point in the box, its weights positive), ``hessian`` (H positive
        definite on the whole box), ``transversal`` (all gaps positive), ``face`` (the eigenvalues
        of the flow on the face have negative real parts).
    """

    proved: bool
    reason: str
    support: tuple[int, ...]
    weights: np.ndarray
    weight_radius: float
    unique_radius: float
    field_value: tuple[float, float]
    gaps: np.ndarray
    field_low: np.ndarray
    field_high: np.ndarray
    precision: int
    steps: dict[str, bool] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """``"proved"`` or ``"not proved"``."""
        return "proved" if self.proved else "not proved"

    @property
    def smallest_gap(self) -> float:
        """The smallest of ``gaps``; infinity where no sample is absent."""
        absent = np.delete(self.gaps, self.support)
        return float(absent.min()) if absent.size else np.inf


def prove_rest_point(
    problem: Problem,
    theta: Array,
    w: Array,
    *,
    threshold: float = 1e-6,
    precisions: Sequence[int] = PRECISIONS,
) -> RestPointProof:
    r"""Prove that the frozen flow has an attracting rest point at w, by interval arithmetic.

    .. math::

        H(w)\,v = \nabla F(\theta), \qquad \nabla l_i \cdot v = -c \;\; (i \in S), \qquad
        \Psi_i - c > 0 \;\; (i \notin S).

    The floats w only suggest the support S and where to look: Newton's method may wander from them,
    and the point proved is ``weights``, not necessarily near w. Shown are: exactly one rest point
    with support S in a box (Krawczyk's operator), H positive definite throughout the box, all
    off-support gaps positive (no absent sample can invade), and negative real parts of the
    eigenvalues on the face (a Lyapunov matrix). Together they make the rest point asymptotically
    stable within the simplex. Theory T5, T7.

    Parameters
    ----------
    problem : LeastSquares or SoftmaxRegression
        Float64, with a small p and support: time grows like their third power. Its data are taken
        as the exact values of the floats.
    theta : (p,)
    w : (n,)
        Non-negative weights near the rest point, such as ``integrate_frozen(...).w[-1]``. Where it
        matters that the point proved is that one, compare them with ``weights``.
    threshold : float
        S is where w exceeds this share of its largest entry.
    precisions : sequence of int
        Bits to work with, tried in turn until the proof goes through.

    Returns
    -------
    RestPointProof
        Its verdict is "proved" or "not proved", never "false".

    Raises
    ------
    ImportError
        Without python-flint (extra ``certify``).
    ValueError, TypeError
        For an argument out of its range, or another kind of problem.

    Notes
    -----
    Rest points that are not isolated cannot be proved this way: a duplicated support sample,
    ``grad F(theta) = 0``, or more than rank[Gamma, 1] - 1 nonzeros. Nor can those of a ridge 0
    problem whose H is singular.

    Examples
    --------
    One parameter: the target is 3, so that at theta = 0 only the sample with y = 2 helps.

    >>> from warmflow.dynamics import LeastSquares
    >>> problem = LeastSquares([[1.0], [1.0]], [-1.0, 2.0], [[1.0]], [3.0], ridge=0.1)
    >>> prove_rest_point(problem, [0.0], [0.0, 1.0]).verdict  # doctest: +SKIP
    'proved'
    >>> prove_rest_point(problem, [0.0], [1.0, 0.0]).reason  # doctest: +SKIP
    'an absent sample may invade'
    """
    flint("prove_rest_point")
    problem = checked_exact_problem(problem, "prove_rest_point")
    theta = checks.array("theta", theta, shape=(problem.num_params,))
    w = checked_weights(problem, checks.array("w", w, shape=(problem.num_samples,)))
    bits = checked_precisions(precisions)
    chosen = tuple(int(i) for i in np.flatnonzero(support_mask(w, threshold)))
    result = None
    for number in bits:
        with precision(number):
            result = _attempt(problem, theta, w, chosen, number)
        if result.proved:
            break
    assert result is not None, "at least one precision was tried"
    return result


def checked_exact_problem(problem: Any, who: str) -> Problem:
    """Return ``problem`` if it is a NumPy problem of float64 data."""
    problem = checked_problem(problem, who)
    if problem.dtype != np.float64:
        raise ValueError(f"`problem` must be float64; got {problem.dtype}.")
    return problem


def checked_precisions(precisions: Any) -> list[int]:
    """Return the numbers of bits to try, at least one."""
    if not isinstance(precisions, Iterable):
        raise TypeError(f"`precisions` must be a sequence of integers; got {precisions!r}.")
    bits = [checks.integer("precisions", number, minimum=24) for number in precisions]
    if not bits:
        raise ValueError("`precisions` must name at least one number of bits.")
    return bits


def _attempt(
    problem: Problem, theta: np.ndarray, w: np.ndarray, chosen: tuple[int, ...], bits: int
) -> RestPointProof:
    """Try all steps at the precision in force."""
    balls = FrozenBalls.of(problem, theta)
    system = RestPointSystem(balls, chosen)
    found = _locate(system, w)
    if found is None:
        reason = "no box in which exactly one rest point exists"
        return _failure(_cause(balls, reason), chosen, w, bits)
    z, middle, unique_radius = found
    weights, v, c = system.split(z)
    field_balls = [-entry for entry in (balls.gamma * v).entries()]
    gaps = np.full(w.size, np.nan)
    for i in set(range(w.size)) - set(chosen):
        gaps[i] = lower(field_balls[i] - c)
    steps = {
        "exists": True,
        "hessian": True,
        "transversal": bool((np.delete(gaps, chosen) > 0).all()),
        "face": _face_attracts(system, z),
    }
    reasons = {"transversal": "an absent sample may invade", "face": "the face may repel"}
    failed = next((reasons[name] for name, shown in steps.items() if not shown), "")
    centre = np.zeros(w.size)
    centre[list(chosen)] = middle
    radius = max(upper(abs(b - ball(x))) for b, x in zip(weights, middle, strict=True))
    return RestPointProof(
        proved=all(steps.values()),
        reason=_cause(balls, failed) if failed else "",
        support=chosen,
        weights=centre,
        weight_radius=radius,
        unique_radius=unique_radius,
        field_value=(lower(c), upper(c)),
        gaps=gaps,
        field_low=np.array([lower(entry) for entry in field_balls]),
        field_high=np.array([upper(entry) for entry in field_balls]),
        precision=bits,
        steps=steps,
    )


def _cause(balls: FrozenBalls, reason: str) -> str:
    """Return the reason of a failure, which is another one where grad F may vanish."""
    if all(entry.contains(0) for entry in balls.target.entries()):
        return "grad F(theta) may be 0: all gaps vanish there and every w is at rest"
    return reason


def _failure(reason: str, chosen: tuple[int, ...], w: np.ndarray, bits: int) -> RestPointProof:
    """Return what stands when nothing was shown; the weights are those that were given."""
    unknown = np.full(w.size, np.nan)
    return RestPointProof(
        proved=False,
        reason=reason,
        support=chosen,
        weights=w,
        weight_radius=np.inf,
        unique_radius=0.0,
        field_value=(-np.inf, np.inf),
        gaps=unknown,
        field_low=unknown,
        field_high=unknown,
        precision=bits,
        steps=dict.fromkeys(("exists", "hessian", "transversal", "face"), False),
    )


def _locate(system: RestPointSystem, w: np.ndarray) -> tuple[Any, list[float], float] | None:
    """Return the enclosed zero, and centre and radius in w of a box where it is the only one."""
    guess = _newton(system, w)
    if guess is None:
        return None
    centre = [float(entry) for entry in system.split(guess)[0]]
    if not min(centre) > 0:
        return None
    radius = 0.5 * min(centre)
    for _ in range(LARGEST_SHRINKING):
        box = _box(system, centre, radius)
        if box is not None:
            zero = enclose_zero(system.residual, system.jacobian, box)
            if zero is not None and all(entry > 0 for entry in system.split(zero)[0]):
                return zero, centre, radius
        radius *= 0.25
    return None


def _newton(system: RestPointSystem, w: np.ndarray) -> Any | None:
    """Return an approximate zero at the precision in force, from the weights w on the support."""
    start = [ball(float(w[i])) for i in system.support]
    H = system.balls.hessian(system.support, start)
    try:
        v = H.mid().solve(system.balls.target.mid()).mid()
    except ZeroDivisionError:
        return None
    pull = (system.balls.rows(system.support) * v).entries()
    level = -sum((a * b for a, b in zip(start, pull, strict=True)), flint().arb(0)) / sum(start)
    entries = [*start, *v.entries(), level]
    z = flint().arb_mat(len(entries), 1, entries).mid()
    for _ in range(NEWTON_STEPS):
        image = krawczyk(system.residual, system.jacobian, z)
        if image is None or not all(entry.is_finite() for entry in image.entries()):
            return None
        z = image.mid()
    return z


def _box(system: RestPointSystem, centre: list[float], radius: float) -> Any | None:
    """Return a box ``(w, v, c)`` that holds every rest point with w within ``radius`` of centre.

    H must be positive definite on it. v = H^{-1} g and c = -<w, Gamma v> are enclosed over all
    these w, then widened: a zero on the rim could not be shown to be inside.
    """
    w = [ball(x, radius) for x in centre]
    H = system.balls.hessian(system.support, w)
    if not is_positive_definite(H):
        return None
    try:
        v = H.solve(system.balls.target, algorithm="precond")
    except ZeroDivisionError:
        return None
    pull = (system.balls.rows(system.support) * v).entries()
    level = -sum((a * b for a, b in zip(w, pull, strict=True)), flint().arb(0))
    entries = [*w, *(_widened(entry) for entry in (*v.entries(), level))]
    return flint().arb_mat(len(entries), 1, entries)


def _widened(x: Any) -> Any:
    """Return a ball of more than twice the radius around the same centre."""
    return x + (x - x.mid()) + ball(0.0, 2.0**-30 * (1.0 + upper(abs(x))))


def _face_attracts(system: RestPointSystem, z: Any) -> bool:
    """Whether the flow on the face is shown to be stable at z; a face of one sample is a point."""
    if len(system.support) == 1:
        return True
    try:
        return is_hurwitz(_face_jacobian(system, z))
    except ZeroDivisionError:  # z is too wide for the precision in force to invert H
        return False


def _face_jacobian(system: RestPointSystem, z: Any) -> Any:
    r"""Enclose the Jacobian of :math:`w' = -P\Psi` on the face, in |S| - 1 coordinates.

    On the tangent space it is :math:`-P(w)\,\Gamma_S H^{-1} K^\top` with rows :math:`A_j v` of K;
    the coordinates are all weights of S but the last, which is minus the sum of the others.
    """
    w, v, _ = system.split(z)
    size = len(w)
    H = system.balls.hessian(system.support, w)
    K = system.balls.curvatures(system.support, v)
    # entry (i, j) is dPsi_i/dw_j
    derivative = system.balls.rows(system.support) * H.solve(K.transpose())
    mean = [
        sum((w[i] * derivative[i, j] for i in range(size)), flint().arb(0)) for j in range(size)
    ]
    full = [[-w[i] * (derivative[i, j] - mean[j]) for j in range(size)] for i in range(size)]
    entries = [row[j] - row[-1] for row in full[:-1] for j in range(size - 1)]
    return flint().arb_mat(size - 1, size - 1, entries)
