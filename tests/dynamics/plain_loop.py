"""The algorithm written out for one cell, and which of its ends can be told to 1e-10.

Theory T11 calls a cell sensitive when theta0 (1 + 1e-13) ends elsewhere by more than 1e-10. There
are cells that this does not find: once the weights have left one sample, H stands still, its
round-off enters log w with the same sign in every step, and what grows back later remembers it. A
change of theta0 is forgotten by then, a change in the order of the operations is not: against
80-bit arithmetic the loop itself is off by 1e-9 and more in such cells. So two more runs must
agree: one with the samples in reverse, one with Cholesky instead of Gauss.
"""

import numpy as np
from numpy.testing import assert_allclose
from scipy.linalg import cho_factor, cho_solve

from warmflow.dynamics import LeastSquares, Status

STRICT = 1e-10


def plain(
    q: LeastSquares,
    rho: float,
    eta: float,
    num_steps: int,
    theta: np.ndarray,
    order=slice(None),
    solve=np.linalg.solve,
):
    """One cell in full coordinates, (steps, p + n); None when it leaves all bounds."""
    X, y = q.X[order], q.y[order]
    log_w = np.full(q.num_samples, -np.log(q.num_samples))
    path = []
    for _ in range(num_steps):
        w, r = np.exp(log_w), X @ theta - y
        H = X.T @ (w[:, None] * X) + q.ridge * np.eye(q.num_params)
        with np.errstate(all="ignore"):
            try:
                v = solve(H, q.X_val.T @ (q.X_val @ theta - q.y_val) / q.num_val)
            except (np.linalg.LinAlgError, ValueError):
                return None
            theta = theta - rho * (X.T @ (w * r) + q.ridge * theta)
            log_w = log_w + eta * r * (X @ v)
            log_w = log_w - log_w.max()
            log_w = log_w - np.log(np.exp(log_w).sum())
        if not np.isfinite(theta).all() or np.abs(theta).max() > 1e12:
            return None
        path.append(np.concatenate([theta, np.exp(log_w)[order]]))
    return np.array(path)


def spread(q: LeastSquares, rho: float, eta: float, num_steps: int, theta0: np.ndarray, path):
    """Return the largest distance (steps,) from ``path`` of three runs that are as good."""
    runs = [
        plain(q, rho, eta, num_steps, theta0 * (1 + 1e-13)),
        plain(q, rho, eta, num_steps, theta0, order=slice(None, None, -1)),
        plain(q, rho, eta, num_steps, theta0, solve=lambda H, b: cho_solve(cho_factor(H), b)),
    ]
    if any(run is None for run in runs):
        return np.full(num_steps, np.inf)
    return np.max([np.abs(run - path).max(axis=1) for run in runs], axis=0)


def compare_ends(ds, q: LeastSquares, alpha, beta, num_steps: int) -> int:
    """Hold the ends of a sweep against the loop; return in how many cells they can be told."""
    n, compared = q.num_samples, 0
    theta0 = q.initial_theta(np.full(n, 1 / n))
    for i, j in np.ndindex(len(alpha), len(beta)):
        path = plain(q, alpha[i], beta[j], num_steps, theta0)
        assert (ds.status[i, j] == Status.ok) == (path is not None)
        if path is None or spread(q, alpha[i], beta[j], num_steps, theta0, path)[-1] > STRICT:
            continue
        ours = np.concatenate([ds.theta[i, j].values, ds.w[i, j].values])
        assert_allclose(ours, path[-1], rtol=0, atol=STRICT)
        compared += 1
    return compared
