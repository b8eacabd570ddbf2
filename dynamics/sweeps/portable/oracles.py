r"""Euler steps of any problem through its oracles, in the array API.

.. math::

    \theta^+ = \theta - \rho\,\nabla_\theta G(\theta, w), \qquad
    \log w^+ = \log w + \eta\,J(\theta)^\top v + \mathrm{const}, \qquad H(\theta, w)\,v = \nabla F .

Systems are solved directly up to the size at which :meth:`..problems.Problem.adjoint` does so. For
larger ones conjugate gradients start from the adjoint of the step before and run a fixed number of
iterations, since asking whether they are done would wait for the device: systems that are done
stand still, and the engine, which looks every now and then how many iterations were needed, repeats
what had too small a budget.
"""

from __future__ import annotations

from ...linalg import cg_within, solve_each, solve_spd
from ...problems import DENSE_LIMIT, Problem
from ...types import Array
from .step import Move, advance_log_weights

__all__ = ["OracleKernel"]

TOLERANCE = 1e-12
"""Residual of the adjoint, by the recursion, relative to grad F, as in the reference."""
CAP = 10
"""Iterations per parameter, as in :func:`..linalg.cg`."""
FIRST_BUDGET = 16


class OracleKernel:
    """Steps cells of any problem; see :class:`.step.Kernel`."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        p, rows = problem.num_params, max(problem.num_samples, problem.num_val)
        width = rows * getattr(problem, "num_classes", 1)
        self._is_dense = "hessian" in problem.capabilities and p <= DENSE_LIMIT
        self.numbers_per_cell = max(width, p * p if self._is_dense else p)
        self.cap = 0 if self._is_dense else int(CAP * p)
        self._tol = max(TOLERANCE, 10.0 * float(problem.xp.finfo(problem.dtype).eps))

    def start(self, theta: Array, log_w: Array) -> Array:
        self.budget = min(FIRST_BUDGET, self.cap)
        return self.problem.xp.zeros_like(theta)

    def coordinates(self, carry: Array) -> Array | None:
        return None

    def step(
        self, theta: Array, log_w: Array, carry: Array, rho: Array, eta: Array, alive: Array
    ) -> Move:
        xp, problem = self.problem.xp, self.problem
        w = xp.exp(log_w)
        v, solved, used = self._adjoint(theta, w, carry, alive)
        log_w, total = advance_log_weights(xp, log_w, eta * problem.per_sample_jvp(theta, v))
        new_theta = theta - rho * problem.train_grad(theta, w)
        return Move(new_theta, log_w, v, total, solved, used)

    def _adjoint(
        self, theta: Array, w: Array, guess: Array, alive: Array
    ) -> tuple[Array, Array, Array]:
        """Return the adjoints (T, p), who was solved, and the iterations taken."""
        xp, problem = self.problem.xp, self.problem
        b = problem.val_grad(theta)
        if self._is_dense:
            eye = xp.eye(b.shape[-1], dtype=b.dtype, device=b.device)
            H = xp.where(alive[:, None, None], problem.hessian(theta, w), eye)
            if problem.ridge > 0:
                v, solved = solve_each(H, b)
            else:
                v = solve_spd(H, b[..., None], may_be_singular=True, may_wait=False)[..., 0]
                solved = xp.ones(v.shape[:1], dtype=xp.bool, device=b.device)
            return v, solved, xp.zeros(solved.shape, dtype=xp.int64, device=b.device)
        b = problem.in_range(b)
        product = problem.hvp_at(theta, w)
        v, solved, used = cg_within(product, b, guess=guess, tol=self._tol, budget=self.budget)
        sound = xp.isfinite(xp.sum(b, axis=-1)) & xp.isfinite(xp.sum(v, axis=-1))
        return v, solved | ~sound, used
