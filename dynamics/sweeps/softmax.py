r"""Euler steps of softmax regression for chunks of cells, adjoints by conjugate gradients.

With :math:`\Theta` the ``(f, C)`` matrix behind theta, a product with the Hessian of cell b is

.. math:: H V = X^\top\bigl(w \odot (\mathrm{diag}\,\pi - \pi\pi^\top)\,X V\bigr) + \lambda V,

two products with X that all cells of a chunk share. Adjoints start from the last ones,
extrapolated (:mod:`.extrapolation`), and the preconditioner keeps the mean curvature of each cell,
:math:`S = \sum_i w_i (\mathrm{diag}\,\pi_i - \pi_i\pi_i^\top) = Z s Z^\top`, beside the second
moments of X under the initial weights, of which the leading eigenvectors Q suffice:

.. math:: P^{-1} = \bigl(Q\sigma Q^\top + \tau (I - QQ^\top)\bigr) \otimes S + \lambda I .
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ..problems import SoftmaxRegression
from ..status import ConvergenceError
from ..types import Array
from .cells import Cells, Plan, judge
from .conjugate import Operator, correct
from .extrapolation import History
from .workers import march, num_workers

__all__ = ["SoftmaxEngine"]

MAX_ORDER = 6
"""Adjoints that the next one is extrapolated from."""
TILE_NUMBERS = 16_000_000
"""Probabilities per tile."""
CHUNK_NUMBERS = 400_000
"""Probabilities per chunk (3 MB): wide enough for the BLAS, small enough for the cache."""
CHUNKS_PER_WORKER = 2
"""Cells differ in their iterations: the chunk of the most laborious ones goes first."""
MAX_RANK = 64
"""Eigenvectors of the second moments that the preconditioner keeps."""
TOLERANCE = 1e-13
"""Energy norm of the error of v relative to that of v."""
CAP = 1000
UNTRIED = 100.0
"""Iterations with the preconditioner from which on it is worth trying without."""
FORGET = 0.98
"""Factor per step on recorded iterations: what was worse is tried again after some time."""


class SoftmaxEngine:
    """Steps SoftmaxRegression cells; ``advance`` yields after every step that is to be saved."""

    def __init__(self, problem: SoftmaxRegression, plan: Plan) -> None:
        self.problem = problem
        self.plan = plan
        cost = problem.num_samples * problem.num_classes
        self.tile = max(8, TILE_NUMBERS // cost)
        share = -(-min(self.tile, plan.rho.size) // (CHUNKS_PER_WORKER * num_workers()))
        self.width = max(1, min(share, max(4, CHUNK_NUMBERS // cost)))
        self.one_hot = np.ascontiguousarray(np.eye(problem.num_classes)[:, problem.labels])
        moments = (problem.X.T * np.exp(plan.log_w0)) @ problem.X
        sigma, vectors = np.linalg.eigh(moments)
        rank = min(MAX_RANK, len(sigma))
        self.basis, self.sigma = np.ascontiguousarray(vectors[:, -rank:]), sigma[-rank:].clip(0)
        self.tail = float(sigma[:-rank].clip(0).mean()) if rank < len(sigma) else 0.0

    def advance(
        self, index: Array, report: Callable[[float], None] | None = None
    ) -> Iterator[tuple[int, Cells]]:
        """Yield ``(step, cells)`` at each saved step of the cells ``index``."""
        size = index.size
        theta, log_w = np.tile(self.plan.theta0, (size, 1)), np.tile(self.plan.log_w0, (size, 1))
        tile = Cells(index, theta, log_w, None)
        order = np.lexsort((self.plan.rho[index], self.plan.eta[index]))[::-1]
        parts = np.split(order, range(self.width, size, self.width))
        return march(tile, parts, lambda part: _Chunk(self, tile, part), self.plan, report)


class _Chunk:
    """Some cells of a tile; inside, classes come before features and samples.

    Parameters are ``(b, C, f)`` and what belongs to samples ``(b, C, n)``: products with X then
    have long rows on both sides, which the BLAS does 1.3 times as fast as with short ones.
    """

    def __init__(self, engine: SoftmaxEngine, tile: Cells, part: np.ndarray) -> None:
        self.engine, self.problem = engine, engine.problem
        self.cells = Cells(tile.index[part], tile.theta[part], tile.log_w[part], None)
        self.step = 0
        self.rho = engine.plan.rho[self.cells.index, None, None]
        self.eta = engine.plan.eta[self.cells.index, None]
        self.theta, self.log_w = self._inward(self.cells.theta), self.cells.log_w.copy()
        self.adjoints = History(np.zeros_like(self.theta), MAX_ORDER)
        self.record = np.tile([UNTRIED, 0.0], (len(part), 1))  # iterations without, with P

    def advance(self) -> None:
        """Take one step."""
        b, problem = len(self.theta), self.problem
        guess = self.adjoints.guess()
        w = np.exp(self.log_w)
        images = self._forward(np.concatenate([self.theta, guess]))
        pi, a = _softmax(images[:b]), images[b:]
        weighted = pi * w[:, None, :]
        error = pi - self.engine.one_hot
        curved = weighted * (a - _over_classes(pi, a)[:, None, :])
        sums = self._backward(np.concatenate([error * w[:, None, :], curved]))
        v, solved = self._adjoint(pi, weighted, w, guess, sums[b:] + problem.ridge * guess)
        log_w = self.log_w + self.eta * _over_classes(error, a + self._forward(v - guess))
        log_w -= log_w.max(axis=-1, keepdims=True)
        total = np.exp(log_w).sum(axis=-1, keepdims=True)
        log_w -= np.log(total)
        theta = self.theta - self.rho * (sums[:b] + problem.ridge * self.theta)
        self.adjoints.add(v)
        self._accept(theta, log_w, judge(theta.reshape(b, -1), total[:, 0], solved))

    def _accept(self, theta: Array, log_w: Array, verdict: Array) -> None:
        """Take the new states of the good cells; the others end where they were."""
        if verdict.any():
            self.write(self.step)
            good = self.cells.bury(verdict)
            theta, log_w = theta[good], log_w[good]
            self.rho, self.eta, self.record = self.rho[good], self.eta[good], self.record[good]
            self.adjoints.keep(good)
        self.theta, self.log_w = theta, log_w

    def write(self, step: int) -> None:
        """Write the states of the living cells into ``cells``."""
        self.cells.write(step, theta=_outward(self.theta), log_w=self.log_w)

    def _adjoint(
        self, pi: Array, weighted: Array, w: Array, guess: Array, Hv: Array
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return ``H^{-1} grad F`` (b, p) and which cells could be solved; Hv is ``H guess``."""
        b = self._inward(self.problem.val_grad(_outward(self.theta)))

        def operator(cells: np.ndarray) -> Operator:
            everyone = cells.size == len(b)
            p, q = (pi, weighted) if everyone else (pi[cells], weighted[cells])

            def product(d: np.ndarray) -> np.ndarray:
                d = d.reshape(p.shape[0], p.shape[1], -1)
                a = self._forward(d)
                a -= _over_classes(p, a)[:, None, :]
                a *= q
                out = self._backward(a)
                out += self.problem.ridge * d
                return out.reshape(len(d), -1)

            return product

        residual = (b - Hv).reshape(len(b), -1)
        energy = np.abs((guess * Hv).sum(axis=(1, 2)))
        curvature = _mean_curvature(pi, weighted)
        plain = self.record[:, 0] < self.record[:, 1]
        preconditioner = _Preconditioner(self.engine, curvature, self.problem.ridge, plain)
        found = correct(operator, preconditioner.at, residual, energy, tol=TOLERANCE, cap=CAP)
        self.record *= FORGET
        self.record[np.arange(len(b)), np.where(plain, 0, 1)] = found.iterations
        v, solved = guess + found.x.reshape(guess.shape), np.ones(len(b), dtype=bool)
        sound = np.isfinite(residual).all(axis=-1)
        v[~sound] = np.nan
        for k in np.flatnonzero(~found.converged & sound):
            try:
                v[k] = self._inward(self.problem.adjoint(_outward(self.theta[k : k + 1]), w[k]))[0]
            except (ConvergenceError, np.linalg.LinAlgError):
                v[k], solved[k] = 0.0, False
        return v, solved

    def _forward(self, v: Array) -> np.ndarray:
        """Return ``X V`` of parameters ``(b, C, f)``, shape ``(b, C, n)``."""
        return (v.reshape(-1, v.shape[2]) @ self.problem.X.T).reshape(*v.shape[:2], -1)

    def _backward(self, a: Array) -> np.ndarray:
        """Return ``X^T a`` of ``(b, C, n)``, shape ``(b, C, f)``."""
        return (a.reshape(-1, a.shape[2]) @ self.problem.X).reshape(*a.shape[:2], -1)

    def _inward(self, theta: Array) -> np.ndarray:
        """Return parameters ``(b, p)`` as ``(b, C, f)``."""
        shape = (len(theta), -1, self.problem.num_classes)
        return np.ascontiguousarray(theta.reshape(shape).swapaxes(1, 2))


def _outward(theta: Array) -> np.ndarray:
    """Return parameters ``(b, C, f)`` as ``(b, p)``."""
    return theta.swapaxes(1, 2).reshape(len(theta), -1)


def _over_classes(a: Array, b: Array) -> np.ndarray:
    """Return the products summed over classes, ``(b, n)``."""
    out: np.ndarray = np.einsum("bcn,bcn->bn", a, b)
    return out


class _Preconditioner:
    """Kronecker products of the leading second moments and the mean curvature of each cell.

    Where ``plain``, a multiple of I: a cell whose weights left all but a few samples has a Hessian
    of low rank, on which conjugate gradients need no help, and the initial moments mislead.
    """

    def __init__(
        self, engine: SoftmaxEngine, curvature: np.ndarray, ridge: float, plain: np.ndarray
    ) -> None:
        self.basis = engine.basis
        broken = ~np.isfinite(curvature).all(axis=(1, 2))
        curvature[broken] = np.eye(curvature.shape[1])
        size, self.vectors = np.linalg.eigh(curvature)
        size = size.clip(0)
        self.rest = 1.0 / (engine.tail * size + ridge)
        self.excess = 1.0 / (engine.sigma * size[:, :, None] + ridge) - self.rest[:, :, None]
        self.rest[plain], self.excess[plain] = 1.0 / ridge, 0.0

    def at(self, cells: np.ndarray) -> Operator:
        """Return the products ``(a, p) -> (a, p)`` with P for these cells."""
        Z, rest, excess = self.vectors[cells], self.rest[cells, :, None], self.excess[cells]
        turn = np.ascontiguousarray(Z.swapaxes(1, 2))

        def product(r: np.ndarray) -> np.ndarray:
            turned = turn @ r.reshape(len(r), Z.shape[1], -1)
            flat = turned.reshape(-1, len(self.basis))
            leading = excess * (flat @ self.basis).reshape(*Z.shape[:2], -1)
            turned *= rest
            turned += (leading.reshape(flat.shape[0], -1) @ self.basis.T).reshape(turned.shape)
            return (Z @ turned).reshape(len(r), -1)

        return product


def _mean_curvature(pi: np.ndarray, weighted: np.ndarray) -> np.ndarray:
    r"""Return :math:`\sum_i w_i (\mathrm{diag}\,\pi_i - \pi_i\pi_i^\top)`, shape ``(b, C, C)``."""
    outer = weighted @ pi.swapaxes(1, 2)
    return np.eye(pi.shape[1]) * weighted.sum(axis=2)[:, :, None] - outer


def _softmax(z: np.ndarray) -> np.ndarray:
    """Return the softmax over the classes of ``(b, C, n)``."""
    out = np.exp(z - z.max(axis=1, keepdims=True))
    out /= out.sum(axis=1, keepdims=True)
    return out
