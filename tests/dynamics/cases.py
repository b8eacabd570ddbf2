"""Problems that the tests share, each with an interior weight vector and a point off theta_star."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from warmflow.dynamics import LeastSquares, MultiProblem, Problem, SoftmaxRegression


@dataclass(frozen=True)
class Case:
    """A problem, a point theta and weights w."""

    problem: Problem
    theta: np.ndarray
    w: np.ndarray


def least_squares(
    n: int = 12, p: int = 3, m: int = 7, ridge: float = 0.1, seed: int = 0
) -> LeastSquares:
    """Return a small random ridge problem with test set and clean mask."""
    rng = np.random.default_rng(seed)
    return LeastSquares(
        rng.normal(size=(n, p)),
        rng.normal(size=n),
        rng.normal(size=(m, p)),
        rng.normal(size=m),
        ridge=ridge,
        test=(rng.normal(size=(5, p)), rng.normal(size=5)),
        clean=np.arange(n) < n // 2,
    )


def two_clusters(
    n: int = 60,
    p: int = 2,
    m: int = 30,
    ridge: float = 1e-2,
    noise: float = 0.3,
    seed: int = 0,
    k: int = 200,
) -> LeastSquares:
    """Return the two-cluster problem: half of the samples obey theta_B = -theta_A, validation A."""
    rng = np.random.default_rng(seed)
    truth = np.ones(p)
    sign = np.where(np.arange(n) < n // 2, 1.0, -1.0)

    def draw(size: int) -> tuple[np.ndarray, np.ndarray]:
        X = rng.normal(size=(size, p))
        return X, X @ truth + noise * rng.normal(size=size)

    X, y = draw(n)
    X_val, y_val = draw(m)
    y = y + (sign - 1.0) * (X @ truth)
    return LeastSquares(X, y, X_val, y_val, ridge=ridge, test=draw(k), clean=sign > 0)


def softmax(
    n: int = 14, f: int = 3, C: int = 3, m: int = 9, ridge: float = 0.1, seed: int = 0
) -> SoftmaxRegression:
    """Return a small random softmax problem with test set and clean mask."""
    rng = np.random.default_rng(seed)
    return SoftmaxRegression(
        rng.normal(size=(n, f)),
        rng.permutation(np.arange(n) % C),
        rng.normal(size=(m, f)),
        rng.permutation(np.arange(m) % C),
        ridge=ridge,
        num_classes=C,
        test=(rng.normal(size=(6, f)), np.arange(6) % C),
        clean=np.arange(n) < n // 2,
    )


def case(problem: Problem, seed: int = 1) -> Case:
    """Return a problem with random theta and Dirichlet weights."""
    rng = np.random.default_rng(seed)
    theta = rng.normal(size=problem.num_params)
    return Case(problem, theta, rng.dirichlet(np.ones(problem.num_samples)))


def all_cases() -> dict[str, Case]:
    """Return one case of every class of problem."""
    multi = MultiProblem([least_squares(n=14, p=2, m=6, seed=3), softmax(n=14)])
    problems = {
        "least_squares": least_squares(),
        "least_squares_wide": least_squares(n=5, p=8, ridge=0.3),
        "softmax": softmax(),
        "multi": multi,
    }
    return {name: case(problem) for name, problem in problems.items()}


CASES = all_cases()


def central_difference(f, x: np.ndarray, step: float = 1e-6) -> np.ndarray:
    """Return the derivative of f at x by central differences; the axes of x come last."""
    columns = []
    for k in range(x.size):
        shift = np.zeros(x.size)
        shift[k] = step
        columns.append((np.asarray(f(x + shift)) - np.asarray(f(x - shift))) / (2 * step))
    return np.stack(columns, axis=-1)


Refusals = dict[str, tuple[Callable[[], object], type[Exception], str]]
"""Wrong calls by name: the call, its error, and a pattern of the message."""


def refusals(entries: Refusals):
    """Parametrise a test over wrong calls."""
    return pytest.mark.parametrize("call, error, match", entries.values(), ids=entries.keys())
