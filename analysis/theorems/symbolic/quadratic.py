"""S4: coefficients, drift and invariants of the finite-dimensional flow (theory T8), proved."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....dynamics import features
from ....dynamics.flows import FullJoint, ReducedJoint
from ..certificate import Evidence, at_most, certifies, exactly
from .rational_points import CODE_ERROR, RidgePoint, relative_error, ridge_point

__all__ = ["quadratic_coefficients"]


@certifies(
    "S4",
    "Least squares is finite-dimensional: features, coefficients, invariants",
    r"$-\Psi_i = (x_i\cdot\theta - y_i)(x_i\cdot v) = \phi_i\cdot c(\theta, v)$ with "
    r"$\phi_i = (x_{ia}x_{ib})_{a\le b}, (y_ix_{ia})_a$, for all $x_i, y_i, \theta, v$; hence "
    r"$w = \mathrm{softmax}(\log w_0 + \Phi U)$ with $U' = \beta c$, "
    r"$H = M + \lambda I$, $\nabla_\theta G = M\theta - b + \lambda\theta$, "
    r"and $\xi\cdot\log w$ is constant for every $\xi$ with $\Phi^\top\xi = 0$, "
    r"$\mathbf 1\cdot\xi = 0$.",
    ("ridge losses",),
    kind="symbolic",
)
def quadratic_coefficients(quick: bool) -> Evidence:
    """Run the code's own features and coefficients on symbols; then the flows at rationals."""
    sizes = (1, 2, 3) if quick else (1, 2, 3, 4, 5)
    points = [ridge_point(seed, n, p) for seed in range(3) for n, p in ((4, 1), (8, 2))]
    checks = [
        exactly(
            f"p = {', '.join(map(str, sizes))}: samples with (x.theta - y)(x.v) != phi . c, the "
            "functions of the code evaluated on symbols",
            sum(entry != 0 for p in sizes for entry in _coefficient_residuals(p)),
            0,
            "an identity of polynomials, of the code itself",
        ),
        exactly(
            "moments of the features: entries of E_w[phi] that do not give M and b",
            sum(entry != 0 for p in sizes for entry in _moment_residuals(p)),
            0,
            "an identity of polynomials, of the code itself",
        ),
        at_most(
            "velocity of (theta, U) in the code, relative error at rational points",
            max(_reduced_error(point) for point in points),
            CODE_ERROR,
            "round-off",
        ),
        exactly(
            "n=4, p=1: derivative of xi . log w that is not zero, xi from the minors of [Phi, 1]",
            int(_invariant_residual() != 0),
            0,
            "an identity in x, y, w, theta, v",
        ),
        at_most(
            "drift of exact invariants along the field of the full coordinates, relative",
            max(_drift(point) for point in points),
            CODE_ERROR,
            "round-off; n - 1 - d invariants each",
        ),
    ]
    return Evidence(checks, {"latex": _latex()})


def _symbols(n: int, p: int) -> tuple[Any, ...]:
    """Return X (n, p), y, w (n,), theta, v (p,) as object arrays of symbols."""
    import sympy

    def array(stem: str, *shape: int) -> np.ndarray:
        names = [stem + "".join(str(k + 1) for k in index) for index in np.ndindex(*shape)]
        return np.array([sympy.Symbol(name) for name in names], dtype=object).reshape(shape)

    return array("x", n, p), array("y", n), array("w", n), array("theta", p), array("v", p)


def _coefficient_residuals(p: int) -> list[Any]:
    """Return the field minus features times coefficients for one symbolic sample."""
    import sympy

    X, y, _, theta, v = _symbols(1, p)
    field = (X @ theta - y) * (X @ v)
    code = features.quadratic_features(X, y) @ features.field_coefficients(theta, v)
    # the code halves by 0.5
    return [sympy.nsimplify(sympy.expand(entry), rational=True) for entry in field - code]


def _moment_residuals(p: int) -> list[Any]:
    """Return the entries of M and b from the features minus the sums that they stand for."""
    import sympy

    X, y, w, _, _ = _symbols(2, p)
    M, b = features.split_moments(w @ features.quadratic_features(X, y), p)
    residuals = [*(M - (X.T * w) @ X).ravel(), *(b - X.T @ (w * y))]
    return [sympy.expand(entry) for entry in residuals]


def _invariant_residual() -> Any:
    """Return d(xi . log w)/dt for four samples and one parameter (d = 2 features)."""
    import sympy

    X, y, w, theta, v = _symbols(4, 1)
    psi = -(X @ theta - y) * (X @ v)
    speed = -(psi - w @ psi)
    table = sympy.Matrix([[x * x, t * x, 1] for (x,), t in zip(X, y, strict=True)])
    minors = [(-1) ** i * table[[j for j in range(4) if j != i], :].det() for i in range(4)]
    return sympy.expand(sum(xi * rate for xi, rate in zip(minors, speed, strict=True)))


def _reduced_error(point: RidgePoint) -> float:
    """Return the error of the field of the reduced flow at U = 0, weights of the point."""
    import sympy

    e, beta, alpha = point.exact, 2.0, 0.5
    p, m = point.problem.num_params, point.problem.num_val
    W = sympy.diag(*e["w"])
    H = e["X"].T * W * e["X"] + e["ridge"] * sympy.eye(p)
    dtheta = -sympy.Rational(alpha) * (H * e["theta"] - e["X"].T * W * e["y"])
    v = H.LUsolve(e["X_val"].T * (e["X_val"] * e["theta"] - e["y_val"]) / m)
    t = e["theta"]
    pairs = [(a, b) for a in range(p) for b in range(a, p)]
    cross = [t[a] * v[b] + t[b] * v[a] if a != b else t[a] * v[a] for a, b in pairs]
    dU = 2 * sympy.Matrix([*cross, *(-v)])
    flow = ReducedJoint(point.problem, alpha, beta, point.theta, np.log(point.w))
    velocity = flow.field(flow.initial)
    psi = -(e["X"] * t - e["y"]).multiply_elementwise(e["X"] * v)
    speed = flow.log_weight_velocity(velocity)
    return max(
        relative_error(velocity[:p], dtheta),
        relative_error(velocity[p:], dU),
        relative_error(speed, -2 * psi),
    )


def _drift(point: RidgePoint) -> float:
    """Return the largest |xi . (log w)'| over exact invariants, relative to |xi| |(log w)'|."""
    import sympy

    e = point.exact
    n, p = e["X"].shape
    columns = [
        e["X"][:, a].multiply_elementwise(e["X"][:, b]) for a in range(p) for b in range(a, p)
    ]
    columns += [e["y"].multiply_elementwise(e["X"][:, a]) for a in range(p)]
    kernel = sympy.Matrix.hstack(*columns, sympy.ones(n, 1)).T.nullspace()
    assert len(kernel) >= n - 1 - features.num_features(p), "d + 1 columns have rank at most d + 1"
    flow = FullJoint(point.problem, 0.5, 2.0, point.theta, np.log(point.w))
    speed = flow.field(flow.initial)[p:]
    vectors = [np.array([float(x) for x in xi]) for xi in kernel]
    return max(abs(xi @ speed) / (np.abs(xi).sum() * np.abs(speed).max()) for xi in vectors)


def _latex() -> list[tuple[str, str]]:
    """Return the identity for p = 2 collected in the features by SymPy, and the reduced flow."""
    import sympy

    a, b, y, s, t, u, v = sympy.symbols("x_1 x_2 y theta_1 theta_2 v_1 v_2")
    product = sympy.expand((a * s + b * t - y) * (a * u + b * v))
    collected = sympy.collect(product, [a**2, a * b, b**2, y * a, y * b])
    return [
        ("p = 2: the field of one sample in its five features", sympy.latex(collected)),
        (
            "the reduced flow",
            r"w = \mathrm{softmax}(\log w_0 + \Phi U), \qquad U' = \beta\, c(\theta, v), \qquad "
            r"(M + \lambda I)\,v = \nabla F(\theta)",
        ),
        (
            "invariants",
            r"\frac{d}{dt}\,\xi\cdot\log w = \beta\,\xi^\top\Phi\,c - \beta\,(\xi\cdot\mathbf 1)"
            r"\,\langle w, \Phi c\rangle = 0",
        ),
    ]
