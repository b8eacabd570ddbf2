"""S3: the Jacobian of the warm-started flow and its blocks at solved points (theory T7, T7b)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ....dynamics.flows import FullJoint
from ..certificate import Evidence, at_most, certifies, exactly
from .rational_points import CODE_ERROR, RidgePoint, relative_error, ridge_point

__all__ = ["jacobian_blocks"]

SPEEDS = (0.5, 2.0)
"""alpha and beta at which the code is compared."""


@certifies(
    "S3",
    "Blocks of the Jacobian of the warm-started flow",
    r"At $\nabla F(\theta) = 0$ the Jacobian in $(\theta, \log w)$ is $\begin{pmatrix} -\alpha H & "
    r"-\alpha JP \\ \beta(I - \mathbf 1w^\top)\Gamma H^{-1}\nabla^2F & 0\end{pmatrix}$, with "
    r"characteristic polynomial $\mu^{n-p}\det(\mu^2 + \alpha H\mu + \alpha\beta\, C H^{-1}"
    r"\nabla^2F)$, $C = JPJ^\top$. An absent sample has the eigenvalue $\beta(c - \Psi_i)$ at "
    r"every $(\theta, w)$.",
    ("ridge losses, $H$ invertible, $w$ on the simplex",),
    kind="symbolic",
)
def jacobian_blocks(quick: bool) -> Evidence:
    """Differentiate the field; compare its blocks with the claim, and the code with both."""
    general, solved = _one_parameter()
    seeds = range(1 if quick else 5)
    shapes = ((3, 1), (3, 2)) if quick else ((3, 1), (3, 2), (4, 2))
    checks = [
        exactly(
            "p=1, n=3: entries of the Jacobian at a solved point that differ from the blocks",
            sum(entry != 0 for entry in solved.block_residuals()),
            0,
            "an identity in x, y, w, theta, ridge, F'', alpha, beta",
        ),
        at_most(
            "the Jacobian of the code, relative error at rational points, solved and not",
            max(
                _code_error(ridge_point(seed, n, p, solved=at_solved))
                for seed in seeds
                for n, p in shapes
                for at_solved in (False, True)
            ),
            CODE_ERROR,
            "round-off",
        ),
        exactly(
            "p=1, n=3: coefficients in which the characteristic polynomial differs",
            sum(entry != 0 for entry in solved.polynomial_residuals()),
            0,
            "an identity; mu^2 times the oscillator polynomial",
        ),
        exactly(
            "p=2, n=4: rational solved points at which the characteristic polynomial differs",
            sum(_oscillator_differs(ridge_point(seed, 4, 2, solved=True)) for seed in seeds),
            0,
            "equality of polynomials in mu with rational coefficients",
        ),
        exactly(
            "p=1, n=3, theta not solved: entries of the row of an absent sample that differ from "
            "(0, ..., 0, beta (c - Psi_i))",
            sum(entry != 0 for entry in general.absent_residuals()),
            0,
            "an identity: the row decouples",
        ),
    ]
    return Evidence(checks, {"latex": _latex()})


@dataclass(frozen=True)
class RidgeField:
    """The warm-started field of a ridge problem as expressions in theta and w.

    F enters by its Hessian A and its minimiser t: ``grad F = A (theta - t)``.
    """

    X: Any
    y: Any
    theta: Any
    w: Any
    ridge: Any
    A: Any
    t: Any
    alpha: Any
    beta: Any

    @property
    def hessian(self) -> Any:
        import sympy

        return self.X.T * sympy.diag(*self.w) * self.X + self.ridge * sympy.eye(self.X.cols)

    @property
    def psi(self) -> Any:
        """The hypergradient field, ``(n, 1)``."""
        # over a field of rational functions, so that v comes in lowest terms
        H, slope = (
            matrix.to_DM(field=True) for matrix in (self.hessian, self.A * (self.theta - self.t))
        )
        H, slope = H.unify(slope)
        v = H.lu_solve(slope).to_Matrix()
        r = self.X * self.theta - self.y
        return -r.multiply_elementwise(self.X * v)

    def velocity(self) -> tuple[Any, Any]:
        """Return theta' and (log w)'."""
        import sympy

        r, psi = self.X * self.theta - self.y, self.psi
        dtheta = -self.alpha * (self.X.T * self.w.multiply_elementwise(r) + self.ridge * self.theta)
        mean = (self.w.T * psi)[0]
        return dtheta, -self.beta * (psi - mean * sympy.ones(psi.rows, 1))

    def jacobian(self) -> Any:
        """Return the derivative in (theta, log w), column by column along ``z + s d``.

        A unit step of log w_k moves w by the k-th column of P(w).
        """
        import sympy

        n, p = self.X.shape
        s, P = sympy.Symbol("s"), self._gamma_and_metric()[1]
        moved = [
            *(replace(self, theta=self.theta + s * sympy.eye(p)[:, a]) for a in range(p)),
            *(replace(self, w=self.w + s * P[:, k]) for k in range(n)),
        ]
        fields = [sympy.Matrix.vstack(*field.velocity()) for field in moved]
        return sympy.Matrix.hstack(*(field.diff(s).xreplace({s: sympy.S.Zero}) for field in fields))

    def blocks(self) -> Any:
        """Return the claimed Jacobian at solved points."""
        import sympy

        n, gamma, P = self.X.rows, *self._gamma_and_metric()
        H = self.hessian
        centred = sympy.eye(n) - sympy.ones(n, 1) * self.w.T
        return sympy.Matrix(
            sympy.BlockMatrix(
                [
                    [-self.alpha * H, -self.alpha * gamma.T * P],
                    [self.beta * centred * gamma * H.inv() * self.A, sympy.zeros(n, n)],
                ]
            )
        )

    def oscillator(self, mu: Any) -> Any:
        """Return ``mu^(n-p) det(mu^2 + alpha H mu + alpha beta C H^{-1} A)``."""
        import sympy

        n, p = self.X.shape
        gamma, P = self._gamma_and_metric()
        C, H = gamma.T * P * gamma, self.hessian
        inside = mu**2 * sympy.eye(p) + self.alpha * mu * H
        return mu ** (n - p) * (inside + self.alpha * self.beta * C * H.inv() * self.A).det()

    def _gamma_and_metric(self) -> tuple[Any, Any]:
        import sympy

        r = self.X * self.theta - self.y
        return sympy.diag(*r) * self.X, sympy.diag(*self.w) - self.w * self.w.T

    def block_residuals(self) -> list[Any]:
        """Return the entries of the Jacobian minus those of the claimed blocks."""
        claimed = self.blocks().to_DM(field=True)
        return list((self._rational_functions() - claimed).to_Matrix())

    def polynomial_residuals(self) -> list[Any]:
        """Return the coefficients, in mu, of the difference of the two polynomials."""
        import sympy

        mu = sympy.Symbol("mu")
        jacobian = self._rational_functions()
        claimed = sympy.Poly(self.oscillator(mu), mu).all_coeffs()
        domain = jacobian.domain
        pairs = zip(jacobian.charpoly(), claimed, strict=True)
        return [coefficient - domain.from_sympy(claim) for coefficient, claim in pairs]

    def absent_residuals(self) -> list[Any]:
        """Return the last row of the Jacobian in (theta, w) at w_n = 0, minus the claim."""
        import sympy

        last, psi = self.w[-1], self.psi
        row = sympy.Matrix([last * self.velocity()[1][-1]]).jacobian([*self.theta, *self.w])
        claim = sympy.zeros(1, row.cols)
        claim[-1] = self.beta * ((self.w.T * psi)[0] - psi[-1])
        return [sympy.cancel(entry.subs(last, 0)) for entry in row - claim]

    def _rational_functions(self) -> Any:
        """Return the Jacobian over a field of rational functions, where zero has one form only."""
        return self.jacobian().to_DM(field=True)


def _one_parameter() -> tuple[RidgeField, RidgeField]:
    """Return three samples and one parameter, everything a symbol: anywhere, and solved."""
    import sympy

    names = "x1:4 y1:4 w1:4"
    x1, x2, x3, y1, y2, y3, w1, w2, w3 = sympy.symbols(names)
    theta, t, lam, A, alpha, beta = sympy.symbols("theta t lambda A alpha beta", positive=True)
    column = sympy.Matrix
    field = RidgeField(
        X=column([x1, x2, x3]), y=column([y1, y2, y3]), theta=column([theta]),
        w=column([w1, w2, w3]), ridge=lam, A=column([A]), t=column([t]), alpha=alpha, beta=beta,
    )  # fmt: skip
    return field, replace(field, t=column([theta]), w=column([w1, w2, 1 - w1 - w2]))


def _rational_field(point: RidgePoint) -> RidgeField:
    """Return the field of a rational problem at its rational theta and w."""
    import sympy

    e, m = point.exact, point.problem.num_val
    A = e["X_val"].T * e["X_val"] / m
    target = A.LUsolve(e["X_val"].T * e["y_val"] / m)
    alpha, beta = (sympy.Rational(speed) for speed in SPEEDS)
    return RidgeField(e["X"], e["y"], e["theta"], e["w"], e["ridge"], A, target, alpha, beta)


def _code_error(point: RidgePoint) -> float:
    """Return the error of the field and of the Jacobian of the code's flow."""
    import sympy

    exact = _rational_field(point)
    log_w = np.log(point.w)
    flow = FullJoint(point.problem, *SPEEDS, point.theta, log_w)
    z = np.concatenate([point.theta, log_w])
    return max(
        relative_error(flow.jacobian(z), exact.jacobian()),
        relative_error(flow.field(z), sympy.Matrix.vstack(*exact.velocity())),
    )


def _oscillator_differs(point: RidgePoint) -> bool:
    return any(entry != 0 for entry in _rational_field(point).polynomial_residuals())


def _latex() -> list[tuple[str, str]]:
    """Return the blocks, and for p = 1 the discriminant as SymPy prints it."""
    import sympy

    mu, alpha, beta, H, C, F = sympy.symbols("mu alpha beta H C F''", positive=True)
    polynomial = mu**2 + alpha * H * mu + alpha * beta * C * F / H
    roots = sympy.solve(sympy.discriminant(polynomial, mu), beta)
    return [
        (
            "solved points",
            r"D = \begin{pmatrix} -\alpha H & -\alpha J P \\ "
            r"\beta (I - \mathbf 1 w^\top)\Gamma H^{-1}\nabla^2 F & 0 \end{pmatrix}",
        ),
        (
            "characteristic polynomial",
            r"\det(\mu - D) = \mu^{n-p}\det\left(\mu^2 + \alpha H\mu + \alpha\beta\, "
            r"J P J^\top H^{-1}\nabla^2 F\right)",
        ),
        ("p = 1", sympy.latex(polynomial) + " = 0"),
        ("p = 1: damped oscillations above", sympy.latex(sympy.Eq(beta, roots[0]))),
        ("an absent sample", r"\mu_i = \beta\,(c - \Psi_i)"),
    ]
