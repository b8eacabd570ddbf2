"""S1: the hypergradient of ridge regression, proved as an identity of polynomials (theory T1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..certificate import Check, Evidence, at_most, certifies, exactly
from .rational_points import CODE_ERROR, RidgePoint, relative_error, ridge_point

__all__ = ["ridge_hypergradient"]


@certifies(
    "S1",
    "Hypergradient of ridge regression",
    r"$\partial h/\partial w_j = -\nabla l_j(\theta^\star)\cdot H^{-1}\nabla F(\theta^\star)$ for "
    r"every $j$, and $\langle w, \nabla h\rangle = \lambda\langle\theta^\star, v\rangle$, as "
    r"identities in $X$, $y$, $w$, $\lambda$ and a general quadratic $F$.",
    (r"$H = X^\top\mathrm{diag}(w)X + \lambda I$ invertible; $w$ need not sum to one",),
    kind="symbolic",
)
def ridge_hypergradient(quick: bool) -> Evidence:
    """Differentiate h as a rational function of w; compare with the formula, then with the code."""
    checks: list[Check] = []
    sizes = ((2, 2), (3, 1)) if quick else ((3, 2), (2, 2), (3, 1))
    for n, p in sizes:
        ridge = RidgePolynomials.of(n, p)
        checks += [
            exactly(
                f"n={n}, p={p}: samples j with det(H)^3 (dh/dw_j - Psi_j) not the zero polynomial",
                sum(left != right for left, right in zip(ridge.slope, ridge.field, strict=True)),
                0,
                "an identity of polynomials",
            ),
            exactly(
                f"n={n}, p={p}: terms left in det(H)^3 (<w, Psi> - ridge <theta*, v>)",
                len(ridge.euler),
                0,
                "an identity of polynomials",
            ),
            at_most(
                f"n={n}, p={p}: hypergradient of the code against the exact derivative of h, "
                "relative, at rational points",
                max(_code_error(ridge, seed) for seed in range(3)),
                CODE_ERROR,
                "round-off",
            ),
        ]
    return Evidence(checks, {"latex": _latex()})


@dataclass(frozen=True)
class RidgePolynomials:
    r"""Ridge regression over a polynomial ring, all multiplied by powers of :math:`D = \det H`.

    With :math:`N = \mathrm{adj}(H) X^\top\mathrm{diag}(w) y`, :math:`\theta^\star = N/D`, and
    :math:`2F = \theta^\top A\theta - 2 b\cdot\theta`, so that :math:`2h D^2` is a polynomial.

    Attributes
    ----------
    slope : list
        :math:`2 D^3\,\partial h/\partial w_j` by the quotient rule.
    field : list
        :math:`2 D^3\,\Psi_j` by the formula.
    euler : polynomial
        :math:`D^3(\langle w, \Psi\rangle - \lambda\langle\theta^\star, v\rangle)`.
    """

    num_params: int
    generators: tuple[Any, ...]
    determinant: Any
    slope: list[Any]
    field: list[Any]
    euler: Any

    @classmethod
    def of(cls, n: int, p: int) -> RidgePolynomials:
        """Return the polynomials for n samples and p = 1 or 2 parameters."""
        from sympy import QQ
        from sympy.polys.rings import ring

        pairs = [(a, b) for a in range(p) for b in range(a, p)]
        names = [f"x{i}{a}" for i in range(n) for a in range(p)]
        names += [f"{kind}{i}" for kind in "yw" for i in range(n)]
        names += ["l", *(f"A{a}{b}" for a, b in pairs), *(f"b{a}" for a in range(p))]
        _, *g = ring(names, QQ)
        X = [g[i * p : (i + 1) * p] for i in range(n)]
        y, w, lam = g[n * p : n * p + n], g[n * p + n : n * p + 2 * n], g[n * p + 2 * n]
        values = dict(zip(pairs, g[n * p + 2 * n + 1 :], strict=False))
        A = [[values[min(a, b), max(a, b)] for b in range(p)] for a in range(p)]
        b = g[-p:]

        H = [[sum(w[i] * X[i][a] * X[i][c] for i in range(n)) for c in range(p)] for a in range(p)]
        for a in range(p):
            H[a][a] = H[a][a] + lam
        D, adjugate = _adjugate(H)
        N = _times(adjugate, [sum(w[i] * X[i][a] * y[i] for i in range(n)) for a in range(p)])
        steep = [left - D * right for left, right in zip(_times(A, N), b, strict=True)]
        v = _times(adjugate, steep)
        twice_h = _dot(N, _times(A, N)) - 2 * D * _dot(b, N)
        psi = [-(_dot(X[j], N) - y[j] * D) * _dot(X[j], v) for j in range(n)]
        slope = [twice_h.diff(w[j]) * D - 2 * twice_h * D.diff(w[j]) for j in range(n)]
        euler = _dot(w, psi) - lam * _dot(N, v)
        return cls(p, tuple(g), D, slope, [2 * entry for entry in psi], euler)

    def derivative(self, values: list[Any]) -> list[Any]:
        """Return dh/dw at rational values of the generators, from the quotient rule."""
        pairs = list(zip(self.generators, values, strict=True))
        D = self.determinant.evaluate(pairs)
        return [entry.evaluate(pairs) / (2 * D**3) for entry in self.slope]


def _code_error(ridge: RidgePolynomials, seed: int) -> float:
    """Return the error of ``outer_grad`` and of ``hypergradient`` at ``theta_star``."""
    point = ridge_point(seed, len(ridge.slope), ridge.num_params, ridge=0.25 * (seed % 2 + 1))
    exact = ridge.derivative(_values(point))
    problem, w = point.problem, point.w
    computed = problem.hypergradient(problem.theta_star(w), w)
    return max(relative_error(computed, exact), relative_error(problem.outer_grad(w), exact))


def _values(point: RidgePoint) -> list[Any]:
    """Return the values of the generators, in their order, as elements of QQ."""
    from sympy import QQ

    X, X_val, m = point.exact["X"], point.exact["X_val"], point.problem.num_val
    A, b = X_val.T * X_val / m, X_val.T * point.exact["y_val"] / m
    p = X.cols
    upper = [A[a, c] for a in range(p) for c in range(a, p)]
    entries = [*X, *point.exact["y"], *point.exact["w"], point.exact["ridge"], *upper, *b]
    return [QQ.from_sympy(entry) for entry in entries]


def _adjugate(H: list[list[Any]]) -> tuple[Any, list[list[Any]]]:
    """Return determinant and adjugate of a ``(1, 1)`` or ``(2, 2)`` matrix."""
    if len(H) == 1:
        return H[0][0], [[H[0][0] ** 0]]
    (a, b), (c, d) = H
    return a * d - b * c, [[d, -b], [-c, a]]


def _times(A: list[list[Any]], x: list[Any]) -> list[Any]:
    return [_dot(row, x) for row in A]


def _dot(x: list[Any], y: list[Any]) -> Any:
    return sum(a * b for a, b in zip(x, y, strict=True))


def _latex() -> list[tuple[str, str]]:
    """Return the proof for p = 1 as SymPy prints it, and the general statement."""
    import sympy

    M, q, lam, x, y = sympy.symbols("M q lambda x_j y_j")
    star = q / (M + lam)
    # one more unit of w_j adds x_j^2 to M and x_j y_j to q
    slope = sympy.factor(sympy.diff(star, M) * x**2 + sympy.diff(star, q) * x * y)
    shown = sympy.Eq(sympy.Derivative(sympy.Symbol("theta^*"), sympy.Symbol("w_j")), slope)
    residual = sympy.Symbol("theta^*") * x - y
    assert sympy.simplify(slope + x * (star * x - y) / (M + lam)) == 0, "the case p = 1"
    return [
        (
            "the general identity",
            r"\frac{\partial h}{\partial w_j} = \nabla F\cdot\frac{\partial\theta^\star}"
            r"{\partial w_j}, \qquad \frac{\partial\theta^\star}{\partial w_j} = -H^{-1}x_j\,"
            r"(x_j\cdot\theta^\star - y_j)",
        ),
        (r"p = 1 with M = sum w_i x_i^2 and q = sum w_i x_i y_i", sympy.latex(shown)),
        ("the same, by the formula", sympy.latex(-x * residual / (M + lam))),
        (
            "Euler's identity: h is 0-homogeneous in (w, ridge)",
            r"\langle w, \nabla h\rangle = \lambda\,\langle\theta^\star, v\rangle",
        ),
    ]
