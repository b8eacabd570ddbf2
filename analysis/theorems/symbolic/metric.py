"""S2: the metric of the simplex is the inverse Hessian of the negative entropy, proved exactly."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....dynamics import simplex
from ..certificate import Check, Evidence, at_most, certifies, exactly
from .rational_points import CODE_ERROR, exact_matrix, relative_error

__all__ = ["inverse_entropy_hessian"]


@certifies(
    "S2",
    "P(w) is the inverse Hessian of the negative entropy on the tangent space",
    r"With $\varphi(w) = \sum_i w_i\log w_i$, $\Pi = I - \mathbf 1\mathbf 1^\top/n$ and "
    r"$P(w) = \mathrm{diag}(w) - ww^\top$: $P\,\nabla^2\varphi = I - w\mathbf 1^\top$, and $P$ is "
    r"the Moore-Penrose inverse of $\Pi\nabla^2\varphi\,\Pi$. In the chart $(w_1,\dots,w_{n-1})$ "
    r"it is the inverse of the Hessian; and $P = \partial\,\mathrm{softmax}(s)/\partial s$.",
    (r"$w_i > 0$, $\sum_i w_i = 1$",),
    kind="symbolic",
)
def inverse_entropy_hessian(quick: bool) -> Evidence:
    """Differentiate the entropy and multiply; compare the code's P(w) g with exact rationals."""
    checks: list[Check] = []
    for n in (4, 3, 2) if quick else (6, 5, 4, 3, 2):
        left = sum(entry != 0 for entry in _residuals(n))
        checks.append(
            exactly(f"n={n}: entries of the identities that are not zero", left, 0, "an identity")
        )
    error = max(_code_error(seed, n) for seed in range(3) for n in (2, 4, 9))
    checks.insert(
        1,
        at_most(
            "the code's P(w) g, relative error at rational points", error, CODE_ERROR, "round-off"
        ),
    )
    return Evidence(checks, {"latex": _latex()})


def _residuals(n: int) -> list[Any]:
    """Return the entries of left minus right side of all identities, in lowest terms."""
    import sympy

    free = sympy.symbols(f"w1:{n}", positive=True)
    weights = sympy.symbols(f"z1:{n + 1}", positive=True)
    w = sympy.Matrix([*free, 1 - sum(free)])
    onto = dict(zip(weights, w, strict=True))
    entropy = sum(z * sympy.log(z) for z in weights)
    hessian = sympy.hessian(entropy, weights).subs(onto)
    chart = sympy.hessian(entropy.subs(onto), free)
    P, H, chart_H, u, one, Pi = map(
        _rational_functions,
        (
            sympy.diag(*w) - w * w.T,
            hessian,
            chart,
            w,
            sympy.ones(n, 1),
            sympy.eye(n) - sympy.ones(n, n) / n,
        ),
    )
    eye, A = P.eye(n, P.domain), Pi * H * Pi
    inner = P.extract(range(n - 1), range(n - 1)) * chart_H
    identities = [
        P * one,
        P * H + u * one.transpose() - eye,
        inner - inner.eye(n - 1, inner.domain),
        A * P - Pi,
        P * A - Pi,
        # with A P = P A = Pi, symmetric, the other two conditions of Moore and Penrose
        Pi * A - A,
        Pi * P - P,
        _softmax_residual(n),
    ]
    return [entry for matrix in identities for entry in matrix.to_Matrix()]


def _rational_functions(matrix: Any) -> Any:
    """Return a matrix over the field of rational functions, where zero has one form only."""
    return matrix.to_DM(field=True)


def _softmax_residual(n: int) -> Any:
    """Return the derivative of the softmax minus P at it, with ``e_i = exp(s_i)``."""
    import sympy

    e = sympy.symbols(f"e1:{n + 1}", positive=True)
    share = sympy.Matrix([entry / sum(e) for entry in e])
    # d/ds_j = e_j d/de_j
    slope = share.jacobian(e) * sympy.diag(*e)
    return _rational_functions(slope - sympy.diag(*share) + share * share.T)


def _code_error(seed: int, n: int) -> float:
    """Return the error of ``simplex.apply_metric`` on the unit vectors and on a random one."""
    rng = np.random.default_rng([seed, n])
    w = (1 + rng.multinomial(64 - n, np.full(n, 1.0 / n))) / 64
    G = np.vstack([np.eye(n), rng.integers(-16, 17, size=n) / 8])
    exact_w = exact_matrix(w)
    # the rows of G are the vectors g, and P is symmetric
    exact = exact_matrix(G) * (_diagonal(exact_w) - exact_w * exact_w.T)
    return relative_error(simplex.apply_metric(w, G), exact)


def _diagonal(column: Any) -> Any:
    import sympy

    return sympy.diag(*column)


def _latex() -> list[tuple[str, str]]:
    """Return the chart identity for n = 3 as SymPy prints it, and the general ones."""
    import sympy

    w1, w2 = sympy.symbols("w1 w2", positive=True)
    w3 = 1 - w1 - w2
    entropy = w1 * sympy.log(w1) + w2 * sympy.log(w2) + w3 * sympy.log(w3)
    inverse = sympy.simplify(sympy.hessian(entropy, (w1, w2)).inv())
    return [
        ("the Hessian and the metric", r"\nabla^2\varphi = \mathrm{diag}(1/w), \qquad "
         r"P\,\nabla^2\varphi = I - w\mathbf 1^\top, \qquad P\mathbf 1 = 0"),
        ("the generalised inverse", r"P = (\Pi\,\nabla^2\varphi\,\Pi)^{+}, \qquad "
         r"P\,(\Pi\,\nabla^2\varphi\,\Pi) = \Pi"),
        ("n = 3: inverse of the Hessian of the entropy in the chart (w_1, w_2)",
         sympy.latex(inverse)),
    ]  # fmt: skip
