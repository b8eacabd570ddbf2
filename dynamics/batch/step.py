"""One attempt of a Rosenbrock step, and the solution between its ends."""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from ..compiling import INNER
from ..sweeps.compiled.vectors import use_wide_vectors
from .dense import WIDTH, invert, multiply
from .field import field
from .tableau import DENSE, GAMMA, STAGES, A, C

__all__ = ["OK", "SINGULAR", "UNSOLVED", "Steps", "attempt", "between", "make_steps"]

OK, SINGULAR, UNSOLVED = 0, 1, 2
"""The attempt was done; its matrix was singular; the inner system could not be solved."""


class Steps(NamedTuple):
    """Room for the steps of one cell with N unknowns; names with ``_lanes`` are padded views.

    Attributes
    ----------
    z, z_new, slope, u, right : (N,)
    J : (N, N)
    W, inverse : (N, C, 8)
    k : (8, N)
    """

    z: np.ndarray
    z_new: np.ndarray
    slope: np.ndarray
    J: np.ndarray
    W: np.ndarray
    inverse: np.ndarray
    k: np.ndarray
    k_lanes: np.ndarray
    z_lanes: np.ndarray
    u: np.ndarray
    u_lanes: np.ndarray
    right: np.ndarray
    right_lanes: np.ndarray


def make_steps(size: int) -> Steps:
    """Return room, zero where padded."""
    chunks = (size + WIDTH - 1) // WIDTH
    padded = chunks * WIDTH
    z, u, right = np.zeros(padded), np.zeros(padded), np.zeros(padded)
    k = np.zeros((STAGES, padded))
    return Steps(
        z[:size],
        np.zeros(size),
        np.zeros(size),
        np.zeros((size, size)),
        np.zeros((size, chunks, WIDTH)),
        np.zeros((size, chunks, WIDTH)),
        k[:, :size],
        k.reshape(STAGES, chunks, WIDTH),
        z.reshape(chunks, WIDTH),
        u[:size],
        u.reshape(chunks, WIDTH),
        right[:size],
        right.reshape(chunks, WIDTH),
    )


@numba.njit(inline="always", fastmath={"contract"}, **INNER)
def attempt(data, alpha, beta, h, steps, work):  # type: ignore[no-untyped-def]
    """Step from ``z``, where ``slope`` and ``J`` hold, by h to ``z_new``; return what happened.

    The error estimate is the last row of ``k``.
    """
    u, k, right, inverse = steps.u, steps.k_lanes, steps.right, steps.inverse
    size = u.size
    _fill(1.0 / (h * GAMMA), steps.J, steps.W)
    for i in range(size):
        right[i] = steps.slope[i]
    if not invert(steps.W, inverse):
        return SINGULAR
    for stage in range(STAGES):
        if stage > 0:
            _stage_state(stage, steps.z_lanes, k, steps.u_lanes)
            if not field(data, alpha, beta, u, right, work):
                return UNSOLVED
        _add_increments(stage, 1.0 / h, k, steps.right_lanes)
        multiply(inverse, right, k, stage)
    for i in range(size):
        steps.z_new[i] = u[i] + steps.k[STAGES - 1, i]
    return OK


@numba.njit(inline="always", **INNER)
def _fill(shift, J, W):  # type: ignore[no-untyped-def]
    """Write ``shift I - J`` with padded rows."""
    for i in range(J.shape[0]):
        for j in range(J.shape[0]):
            W[i, j // WIDTH, j % WIDTH] = -J[i, j]
        W[i, i // WIDTH, i % WIDTH] += shift


@numba.njit(fastmath={"contract"}, **INNER)
def _add_increments(stage, speed, k, right):  # type: ignore[no-untyped-def]
    use_wide_vectors()
    for c in range(right.shape[0]):
        for j in range(stage):
            factor = C[stage, j] * speed
            for lane in range(WIDTH):
                right[c, lane] += factor * k[j, c, lane]


@numba.njit(fastmath={"contract"}, **INNER)
def _stage_state(stage, z, k, u):  # type: ignore[no-untyped-def]
    """Write the state of a stage into ``u``; the last two only add an increment."""
    use_wide_vectors()
    for c in range(z.shape[0]):
        if stage >= STAGES - 2:
            for lane in range(WIDTH):
                u[c, lane] += k[stage - 1, c, lane]
        else:
            for lane in range(WIDTH):
                u[c, lane] = z[c, lane]
            for j in range(stage):
                for lane in range(WIDTH):
                    u[c, lane] += A[stage, j] * k[j, c, lane]


@numba.njit(fastmath={"contract"}, **INNER)
def between(s, steps, out):  # type: ignore[no-untyped-def]
    """Write the solution at the share s of the step into ``out``."""
    for i in range(out.size):
        inner = 0.0
        for row in range(3):
            power = 2 - row
            total = 0.0
            for j in range(STAGES):
                total += DENSE[power, j] * steps.k[j, i]
            inner = total + s * inner
        out[i] = (1.0 - s) * steps.z[i] + s * (steps.z_new[i] + (1.0 - s) * inner)
