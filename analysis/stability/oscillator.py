r"""Solved points of the warm-started flow are damped oscillators (theory T7b).

With :math:`x = J P(w)\,\delta\log w`, which is all that theta feels of a change of the weights, the
linearised flow at a solved point closes in 2p dimensions:

.. math::

    \delta\theta' = -\alpha\,(H\,\delta\theta + x), \qquad x' = \beta\,N\,\delta\theta, \qquad
    N = C H^{-1}\nabla^2 F,\quad C = J P(w) J^\top .

All other directions are neutral: they move along the manifold of solved points.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import eig, eigvals

from ...dynamics import checks
from ...dynamics.types import Array
from .points import SolvedPoint, solved_point

__all__ = ["hopf_ratios", "oscillator_matrix", "oscillator_spectrum"]

LIMIT = 12
"""Largest p for :func:`hopf_ratios`: its matrices have p(2p-1) rows."""


def oscillator_matrix(
    problem: Any, theta: Array, w: Array, alpha: float, beta: float
) -> np.ndarray:
    r"""Return the companion matrix of the oscillator at a solved point.

    .. math:: \begin{pmatrix} -\alpha H & -\alpha I \\ \beta N & 0 \end{pmatrix}

    Parameters
    ----------
    problem : LeastSquares
    theta : (p,)
        With grad F(theta) = 0.
    w : (n,)
        With grad_theta G(theta, w) = 0; zeros are allowed.
    alpha, beta : float
        Speeds per unit of time, >= 0.

    Returns
    -------
    (2p, 2p)
        In the coordinates (delta theta, x) of the module, per unit of time.

    Raises
    ------
    ValueError, TypeError
        For a point that is not solved, an inner Hessian that lacks rank, or negative speeds.
    """
    alpha, beta = checks.nonnegative("alpha", alpha), checks.nonnegative("beta", beta)
    return companion(solved_point(problem, theta, w, "oscillator_matrix"), alpha, beta)


def oscillator_spectrum(
    problem: Any, theta: Array, w: Array, alpha: float, beta: float
) -> np.ndarray:
    r"""Return the nontrivial eigenvalues of the warm-started flow at a solved point.

    .. math:: \det\bigl(\mu^2 + \alpha H\mu + \alpha\beta\,C H^{-1}\nabla^2 F\bigr) = 0

    Arguments and errors are those of :func:`oscillator_matrix`.

    Returns
    -------
    (2p,) complex
        Sorted by real part, the least stable first; units 1/time. Zeros among them: as many as
        the rank of N is short of p.
    """
    mu = np.linalg.eigvals(oscillator_matrix(problem, theta, w, alpha, beta))
    return mu[np.lexsort((mu.imag, -mu.real))]


def companion(point: SolvedPoint, alpha: float, beta: float) -> np.ndarray:
    """Return the matrix of :func:`oscillator_matrix`."""
    p = point.H.shape[0]
    top = np.hstack([-alpha * point.H, -alpha * np.eye(p)])
    return np.vstack([top, np.hstack([beta * point.N, np.zeros((p, p))])])


def hopf_ratios(problem: Any, theta: Array, w: Array) -> np.ndarray:
    r"""Return every ratio beta/alpha at which a pair of eigenvalues crosses the imaginary axis.

    The skew-symmetric matrices carry :math:`X \mapsto AX + XA^\top`, whose eigenvalues are the
    sums :math:`\mu_i + \mu_j`, i < j, of those of A: a pair on the imaginary axis makes it
    singular. A is affine in beta/alpha, so that all crossings come at once from one generalised
    eigenvalue problem with p(2p-1) rows; each is then polished by Newton's method on the real part.
    Nothing is searched for, so no crossing between grid points is missed (Guckenheimer, Myers and
    Sturmfels, SIAM J. Numer. Anal. 34 (1997), 1).

    Parameters
    ----------
    problem : LeastSquares
        With p <= 12.
    theta : (p,)
    w : (n,)
        A solved point, as for :func:`oscillator_matrix`.

    Returns
    -------
    (k,)
        Increasing ratios, in units of the inverse of :math:`H^{-3} C \nabla^2 F`; empty where the
        point is stable at every ratio, as always for p = 1. Only transversal crossings count.

    Raises
    ------
    ValueError, TypeError
        For a point that is not solved, or too large p.
    """
    point = solved_point(problem, theta, w, "hopf_ratios")
    if point.H.shape[0] > LIMIT:
        raise ValueError(f"`problem` must have p <= {LIMIT}; got {point.H.shape[0]}.")
    slow, fast = _pencil(point)
    D = _skew_basis(slow.shape[0])
    candidates = eigvals(_sum_operator(slow, D), -_sum_operator(fast, D))
    found: list[float] = []
    for guess in candidates[np.isfinite(candidates)]:
        if guess.real > 0 and abs(guess.imag) <= 1e-3 * guess.real:
            ratio = _polish(slow, fast, float(guess.real))
            if ratio is not None and not np.any(np.isclose(found, ratio, rtol=1e-8)):
                found.append(ratio)
    return np.sort(np.array(found))


def _pencil(point: SolvedPoint) -> tuple[np.ndarray, np.ndarray]:
    """Return A0, A1 with A(r) = A0 + r A1 on the directions that N moves, in units of |H|.

    Leaving out the kernel of N keeps the pencil regular: it would add zero eigenvalues at every r.
    """
    unit = np.linalg.norm(point.H, 2)
    U, s, Vt = np.linalg.svd(point.N)
    rank = int((s > s.size * np.finfo(np.float64).eps * s[0]).sum()) if s[0] > 0 else 0
    p = s.size
    slow, fast = np.zeros((2, p + rank, p + rank))
    slow[:p, :p], slow[:p, p:] = -point.H / unit, -U[:, :rank]
    fast[p:, :p] = s[:rank, None] * Vt[:rank] / unit**2
    return slow, fast


def _skew_basis(m: int) -> np.ndarray:
    """Return an orthonormal basis ``(m^2, m(m-1)/2)`` of the skew-symmetric matrices."""
    i, j = np.triu_indices(m, 1)
    D = np.zeros((m * m, i.size))
    k = np.arange(i.size)
    D[i * m + j, k], D[j * m + i, k] = np.sqrt(0.5), -np.sqrt(0.5)
    return D


def _sum_operator(A: np.ndarray, D: np.ndarray) -> np.ndarray:
    """Return X -> A X + X A^T on the skew-symmetric matrices."""
    eye = np.eye(A.shape[0])
    result: np.ndarray = D.T @ (np.kron(A, eye) + np.kron(eye, A)) @ D
    return result


def _polish(slow: np.ndarray, fast: np.ndarray, ratio: float) -> float | None:
    """Return the crossing next to ``ratio``, or None where only two real eigenvalues cancel."""
    for _ in range(30):
        mu, left, right = eig(slow + ratio * fast, left=True)  # type: ignore[misc]
        pairs = np.flatnonzero(mu.imag > 1e-9 * np.abs(mu).max())
        if pairs.size == 0:
            return None
        k = pairs[np.argmin(np.abs(mu[pairs].real) / np.abs(mu[pairs]))]
        slope = (left[:, k].conj() @ fast @ right[:, k]) / (left[:, k].conj() @ right[:, k])
        step = mu[k].real / slope.real if slope.real else np.inf
        if not abs(step) < 0.5 * ratio:
            return None
        ratio -= step
        if abs(step) <= 1e-13 * ratio:
            break
    return ratio if abs(mu[k].real) <= 1e-9 * abs(mu[k]) else None
