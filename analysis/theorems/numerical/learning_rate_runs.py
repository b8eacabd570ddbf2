"""Runs of the warm-started algorithm near solved points, for the certificate T7c."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....dynamics import LeastSquares, Status, methods, run_method, simplex
from ...stability import kappa, learning_rate_limits, update_matrix
from ...stability.learning_rates import one_step
from ...stability.points import solved_point
from .linearised import solved_draws

__all__ = ["ORDERS", "Point", "algorithm", "growth_per_step", "jump", "regions"]

ORDERS = ("simultaneous", "theta_first", "w_first", "exact")
Point = tuple[LeastSquares, np.ndarray, np.ndarray]
SIZE = 1e-6
"""Perturbation of runs that shall stay in the linear regime, relative."""


def algorithm(rho: float, eta: float, order: str) -> methods.Method:
    """Return the method that makes the two updates in an order."""
    if order == "exact":
        return methods.Exact(eta=eta)
    return methods.Joint(rho=rho, eta=eta, order=order)


def growth_per_step(
    point: Point, rho: float, eta: float, order: str, steps: int = 40
) -> tuple[float, float]:
    """Return measured and predicted log growth per step along the leading left eigenvector.

    Half the difference of two runs from opposite perturbations: what is even in the perturbation,
    such as the rounding of the rest point itself, drops out.
    """
    problem, theta, w = point
    z, left = np.linalg.eig(update_matrix(*point, rho, eta, order).T)
    k = int(np.argmax(np.abs(z)))
    steps = max(4, min(steps, int(3.0 / abs(np.log(np.abs(z[k]))))))
    change = np.random.default_rng(w.size).uniform(-1.0, 1.0, w.size)
    change -= w @ change
    runs = []
    for size in (SIZE, -SIZE):
        theta0 = None if order == "exact" else theta * (1.0 + size) + size
        run = run_method(
            problem, algorithm(rho, eta, order), steps, theta0=theta0, w0=w * (1.0 + size * change),
            num_saved=steps + 1,
        )  # fmt: skip
        x = run.w @ problem.per_sample_grads(theta)
        runs.append(x if order == "exact" else np.hstack([run.theta, x]))
    amplitude = np.log(np.abs((runs[0] - runs[1]) @ left[:, k]))
    return float(np.polyfit(run.t, amplitude, 1)[0]), float(np.log(np.abs(z[k])))


def jump(seed: int, factor: float, steps: int) -> dict[str, Any]:
    """Return where the exact algorithm ends that starts near a dense solved point."""
    problem, theta, w = next(solved_draws(40 + 10 * seed, 1, 40, 2, 5e-2))
    k = float(kappa(problem, theta, w)[-1])
    eta = factor / k
    w0 = w * (1.0 + 1e-4 * np.cos(np.arange(w.size)))
    run = run_method(problem, methods.Exact(eta=eta), steps, w0=w0 / w0.sum(), num_saved=401)
    u = run.w[-1]
    slope = np.linalg.norm(problem.val_grad(run.theta[-1]))
    solved = bool(slope <= 1e-7 * np.linalg.norm(problem.val_grad(0.0 * theta)))
    return {
        "seed": seed, "eta_kappa": factor, "solved": solved, "slope": float(slope),
        "flatter": float(eta * kappa(problem, run.theta[-1], u)[-1]) if solved else np.nan,
        "ess": [float(simplex.ess(w)), float(simplex.ess(u))],
        "moved": float(np.abs(u - w).sum()),
        "largest_theta": float(np.abs(run.theta).max() / np.abs(theta).max()),
        "status": run.status.name,
    }  # fmt: skip


def regions(point: Point, count: int) -> dict[str, Any]:
    """Return radii, limits and outcomes of runs over (rho h, eta kappa) for p = 1."""
    problem, theta, w = point
    h = float(problem.hvp(theta, w, np.eye(1))[0, 0])
    k = float(kappa(*point)[0])
    fine, coarse = np.linspace(0.1, 4.2, 42), np.linspace(0.15, 4.05, count)
    matrices = solved_point(*point, "regions")
    out: dict[str, Any] = {
        "rho_h": fine,
        "eta_kappa": fine,
        "run_rho_h": coarse,
        "run_eta_kappa": coarse,
    }
    for order in ORDERS[:3]:
        maps = [[one_step(matrices, a / h, b / k, order) for b in fine] for a in fine]
        radius = np.abs(np.linalg.eigvals(np.array(maps))).max(axis=-1)
        decays = [[decayed(point, a / h, b / k, order) for b in coarse] for a in coarse]
        limits = [learning_rate_limits(*point, a / h, order) for a in fine]
        out[order] = {"radius": radius, "decays": np.array(decays),
                      "limits": k * np.array(limits)}  # fmt: skip
    return out


def decayed(point: Point, rho: float, eta: float, order: str, steps: int = 30) -> bool:
    """Return whether a run returns to the solved manifold: |(theta - theta_hat, x)| falls."""
    problem, theta, w = point
    run = run_method(
        problem, algorithm(rho, eta, order), 2 * steps, theta0=theta * (1.0 + 1e-9), w0=w,
        num_saved=3,
    )  # fmt: skip
    x = (run.w - w) @ problem.per_sample_grads(theta)
    size = np.abs(np.hstack([run.theta - theta, x])).max(axis=1)
    return bool(run.status is Status.ok and size[-1] < size[0])
