"""Runs of the flow near solved points, and where they end, for the certificate T7b."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....dynamics import LeastSquares, integrate, simplex
from ....dynamics.types import Array
from ...stability import oscillator_matrix, oscillator_spectrum

__all__ = ["Point", "branches", "growth_rate", "orbit_ends"]

Point = tuple[LeastSquares, np.ndarray, np.ndarray]


def growth_rate(point: Point, ratio: float, size: float = 1e-6) -> tuple[complex, complex]:
    """Return measured and predicted rate of the leading pair of a perturbed run at alpha = 1."""
    problem, theta, w = point
    A = oscillator_matrix(problem, theta, w, 1.0, ratio)
    mu, left = np.linalg.eig(A.T)
    k = int(np.argmin(np.where(mu.imag > 0, np.abs(mu.real) / np.abs(mu), np.inf)))
    times = np.linspace(0.0, min(2.0 / abs(mu[k].real), 20.0 / abs(mu[k])), 41)
    start = np.random.default_rng(w.size).standard_normal(theta.size)
    start *= size * np.linalg.norm(theta) / np.linalg.norm(start)
    run = integrate(
        problem, alpha=1.0, beta=ratio, theta0=theta + start, w0=w, t_eval=times,
        t_span=(0.0, times[-1]), rtol=1e-10, atol=1e-15,
    )  # fmt: skip
    gamma = (problem.X @ theta - problem.y)[:, None] * problem.X
    x = (run.w - w) @ gamma
    amplitude = np.hstack([run.theta - theta, x]) @ left[:, k]
    phase = np.unwrap(np.angle(amplitude))
    fitted = np.polyfit(times, np.log(np.abs(amplitude)) + 1j * phase, 1)[0]
    return complex(fitted), complex(mu[k])


def orbit_ends(point: Point, ratio: float) -> dict[str, Any]:
    """Return where runs end that start 1 % from the point, below and above its Hopf ratio."""
    problem, theta, w = point
    start = np.random.default_rng(w.size).standard_normal(theta.size)
    theta0 = theta + 1e-2 * np.linalg.norm(theta) * start / np.linalg.norm(start)
    out: dict[str, Any] = {"hopf": ratio, "ess": float(simplex.ess(w))}
    for name, factor in (("control", 0.5), ("leaving", 3.0)):
        run = integrate(
            problem, alpha=1.0, beta=factor * ratio, theta0=theta0, w0=w, t_span=(0.0, 1e5),
            rtol=1e-6, rest_tol=1e-6, max_evaluations=40_000, t_eval=[0.0, 1e5],
        )  # fmt: skip
        u, rest = run.w[-1], run.theta[-1]
        slope = np.linalg.norm(problem.val_grad(rest)) / np.linalg.norm(problem.val_grad(0 * rest))
        out[name] = {
            "status": run.status.name, "time": run.t[-1], "ess": float(simplex.ess(u)),
            "moved": float(np.abs(u - w).sum()), "slope": float(slope),
            "growth": float(oscillator_spectrum(problem, theta, polished(problem, theta, u),
                                                1.0, factor * ratio)[0].real)
            if slope < 1e-4 else np.nan,
        }  # fmt: skip
    return out


def polished(problem: LeastSquares, theta: Array, w: Array) -> np.ndarray:
    """Return the solved weights next to almost solved ones: one relative correction."""
    g = (problem.X @ theta - problem.y)[:, None] * problem.X + problem.ridge * theta
    rows = np.column_stack([g, np.ones(w.size)])
    miss = np.append(w @ g, 0.0)
    u = w - w * (rows @ np.linalg.lstsq((rows.T * w) @ rows, miss, rcond=None)[0])
    u = np.maximum(u, 0.0)
    return u / u.sum()


def branches(point: Point, ratio: float) -> dict[str, Any]:
    """Return the spectrum along ratios through a Hopf point, for the figure."""
    ratios = ratio * np.geomspace(1e-2, 1e2, 81)
    return {
        "hopf": ratio, "ratios": ratios,
        "spectra": np.array([oscillator_spectrum(*point, 1.0, r) for r in ratios]),
    }  # fmt: skip
