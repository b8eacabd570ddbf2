"""S5: the multiplier of the augmented Lagrangian is the adjoint up to its sign, proved exactly."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..certificate import Evidence, at_most, certifies, exactly
from .rational_points import CODE_ERROR, RidgePoint, relative_error, ridge_point

__all__ = ["lagrange_multiplier"]


@certifies(
    "S5",
    "Multiplier of the augmented Lagrangian",
    r"$L = F(\theta) + \nu\cdot\nabla_\theta G + \tfrac\gamma2|\nabla_\theta G|^2$ is stationary "
    r"in $\theta$ and $\nu$ at $\theta^\star(w)$ and only $\nu^\ast = -H^{-1}\nabla F = -v$, for "
    r"every $\gamma$, and there $\nabla_w L = J^\top\nu^\ast = \Psi$ = $\nabla h$. (With "
    r"$-\nu\cdot\nabla_\theta G$ the multiplier is $+v$.)",
    (r"$\nabla_\theta G(\theta^\star, w) = 0$, $H$ invertible; losses of any kind",),
    kind="symbolic",
)
def lagrange_multiplier(quick: bool) -> Evidence:
    """Differentiate L for unspecified functions F and l_i; compare with the code on ridge."""
    sizes = ((2, 1), (2, 2)) if quick else ((3, 1), (2, 2), (3, 3))
    points = [ridge_point(seed, n, p) for seed in range(3) for n, p in ((4, 1), (6, 2), (7, 3))]
    checks = [
        exactly(
            "unspecified F and l_i: entries of grad_theta L - [grad F + H (nu + gamma grad G)] "
            "and of grad_w L - J^T (nu + gamma grad G) that are not zero",
            sum(entry != 0 for n, p in sizes for entry in _gradient_residuals(n, p)),
            0,
            "an identity of functions, at every theta",
        ),
        exactly(
            "at grad G = 0 and nu = -H^{-1} grad F: entries of grad_theta L and of grad_w L + J^T "
            "H^{-1} grad F that are not zero, gamma a symbol",
            sum(entry != 0 for n, p in sizes for entry in _stationary_residuals(n, p)),
            0,
            "an identity; gamma drops out",
        ),
        exactly(
            "rational ridge problems: entries of grad_w L - grad h, grad h by exact "
            "differentiation, that are not zero",
            sum(entry != 0 for point in points[:2] for entry in _exact(point)["gap"]),
            0,
            "rational arithmetic",
        ),
        at_most(
            "the code's adjoint against -nu* and its hypergradient against grad_w L, relative",
            max(_code_error(point) for point in points),
            CODE_ERROR,
            "round-off",
        ),
    ]
    return Evidence(checks, {"latex": _latex()})


def _lagrangian(n: int, p: int) -> dict[str, Any]:
    """Return L and its parts for unspecified functions F and l_i of theta."""
    import sympy

    theta = sympy.symbols(f"theta1:{p + 1}")
    w, nu = sympy.symbols(f"w1:{n + 1}"), sympy.Matrix(sympy.symbols(f"nu1:{p + 1}"))
    gamma, lam = sympy.symbols("gamma lambda")
    F = sympy.Function("F")(*theta)
    losses = [sympy.Function(f"l{i + 1}")(*theta) for i in range(n)]
    G = sum(a * loss for a, loss in zip(w, losses, strict=True))
    G += lam / 2 * sum(t**2 for t in theta)
    slope = sympy.Matrix([G]).jacobian(theta).T
    L = F + (nu.T * slope)[0] + gamma / 2 * (slope.T * slope)[0]
    return {
        "theta": theta, "w": w, "nu": nu, "gamma": gamma, "L": L, "grad_G": slope,
        "grad_F": sympy.Matrix([F]).jacobian(theta).T, "H": sympy.hessian(G, theta),
        "J": sympy.Matrix(losses).jacobian(theta).T,
    }  # fmt: skip


def _gradient_residuals(n: int, p: int) -> list[Any]:
    """Return the gradients of L in theta and w minus what is claimed of them."""
    import sympy

    a = _lagrangian(n, p)
    total = a["nu"] + a["gamma"] * a["grad_G"]
    in_theta = sympy.Matrix([a["L"]]).jacobian(a["theta"]).T - a["grad_F"] - a["H"] * total
    in_w = sympy.Matrix([a["L"]]).jacobian(a["w"]).T - a["J"].T * total
    return [sympy.expand(entry) for entry in (*in_theta, *in_w)]


def _stationary_residuals(n: int, p: int) -> list[Any]:
    """Return the gradient of L in theta, and that in w minus Psi, at the claimed point.

    The first-order condition ``grad G = 0`` is put in by solving it for the gradient of l_1.
    """
    import sympy

    a = _lagrangian(n, p)
    names = {entry: sympy.Symbol(f"h{k}") for k, entry in enumerate(sorted(set(a["H"]), key=str))}
    H = a["H"].xreplace(names)
    nu = -H.inv(method="ADJ") * a["grad_F"]
    first = a["J"][:, 0]
    solved = [entry - slope / a["w"][0] for entry, slope in zip(first, a["grad_G"], strict=True)]
    values = dict(zip([*first, *a["nu"]], [*solved, *nu], strict=True))
    in_theta = sympy.Matrix([a["L"]]).jacobian(a["theta"]).T
    in_w = sympy.Matrix([a["L"]]).jacobian(a["w"]).T - a["J"].T * nu
    # xreplace meets first derivatives of l_1 as whole nodes, so that its second ones stay
    back = {symbol: entry for entry, symbol in names.items()}
    residuals = [entry.xreplace(values).xreplace(back) for entry in (*in_theta, *in_w)]
    return [sympy.cancel(_plain(entry)) for entry in residuals]


def _plain(expression: Any) -> Any:
    """Return an expression with a symbol for every derivative, which ``cancel`` handles faster."""
    import sympy

    derivatives = sorted(expression.atoms(sympy.Derivative), key=str)
    return expression.xreplace({d: sympy.Symbol(f"d{k}") for k, d in enumerate(derivatives)})


def _exact(point: RidgePoint) -> dict[str, Any]:
    """Return nu* from the stationarity of L, grad_w L there, and its distance from grad h."""
    import sympy

    e, m = point.exact, point.problem.num_val
    n, p = e["X"].shape
    w = sympy.Matrix(sympy.symbols(f"w1:{n + 1}"))
    values = dict(zip(w, e["w"], strict=True))
    H = e["X"].T * sympy.diag(*w) * e["X"] + e["ridge"] * sympy.eye(p)
    star = H.LUsolve(e["X"].T * w.multiply_elementwise(e["y"]))
    errors = e["X_val"] * star - e["y_val"]
    outer = (errors.T * errors)[0] / (2 * m)
    theta = star.xreplace(values)
    nu = -H.xreplace(values).LUsolve(e["X_val"].T * (e["X_val"] * theta - e["y_val"]) / m)
    slope = (e["X"] * theta - e["y"]).multiply_elementwise(e["X"] * nu)
    exact = sympy.Matrix([sympy.diff(outer, entry).xreplace(values) for entry in w])
    return {"nu": nu, "slope": slope, "theta": theta, "gap": list(slope - exact)}


def _code_error(point: RidgePoint) -> float:
    import sympy

    e, m = point.exact, point.problem.num_val
    p = point.problem.num_params
    W = sympy.diag(*e["w"])
    H = e["X"].T * W * e["X"] + e["ridge"] * sympy.eye(p)
    theta = H.LUsolve(e["X"].T * W * e["y"])
    nu = -H.LUsolve(e["X_val"].T * (e["X_val"] * theta - e["y_val"]) / m)
    slope = (e["X"] * theta - e["y"]).multiply_elementwise(e["X"] * nu)
    star = point.problem.theta_star(point.w)
    return max(
        relative_error(star, theta),
        relative_error(-point.problem.adjoint(star, point.w), nu),
        relative_error(point.problem.hypergradient(star, point.w), slope),
        float(np.abs(point.problem.train_grad(star, point.w)).max()),
    )


def _latex() -> list[tuple[str, str]]:
    return [
        (
            "gradients of L",
            r"\nabla_\theta L = \nabla F + H\,(\nu + \gamma\nabla_\theta G), \qquad "
            r"\nabla_w L = J^\top(\nu + \gamma\nabla_\theta G), \qquad \nabla_\nu L = "
            r"\nabla_\theta G",
        ),
        (
            "stationary in theta and nu, for every gamma",
            r"\theta = \theta^\star(w), \qquad \nu^\ast = -H^{-1}\nabla F = -v, \qquad "
            r"\nabla_w L = -J^\top H^{-1}\nabla F = \Psi = \nabla h",
        ),
    ]
