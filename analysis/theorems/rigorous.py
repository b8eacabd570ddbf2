"""R1 and R2: rest points of the frozen flow, proved with interval arithmetic (theory T5, T7)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import Any

import numpy as np
from scipy.optimize import nnls

from ...dynamics import LeastSquares, Problem, integrate_frozen
from ..intervals import RestPointProof, exclude_dense_supports, prove_rest_point
from ..intervals.arithmetic import ball, ball_matrix, is_positive_definite, precision
from ..intervals.enclosure import FrozenBalls, RestPointSystem
from ..intervals.krawczyk import enclose_zero
from .certificate import Check, Evidence, at_most, certifies, exactly
from .instances import ridge_problem, softmax_problem
from .numerical.ridge_programs import two_limits

__all__ = ["attracting_rest_point", "no_denser_rest_point"]

REST_TOL = 1e-12
"""Residual at which the flow that suggests a rest point is stopped: a weight above the threshold of
1e-6 that dies out at a rate above 1e-6 is not yet at rest."""


@dataclass(frozen=True)
class Trial:
    """A problem at a frozen theta, the end of its flow, and what was proved there."""

    problem: Problem
    theta: np.ndarray
    end: np.ndarray
    proof: RestPointProof


@certifies(
    "R1",
    "Attracting rest points of the frozen flow, proved",
    r"For each given problem there is exactly one $w^\ast$ with support $S$ in the stated box such "
    r"that $\Psi_S = c\,\mathbf 1$ and $\sum w^\ast_i = 1$; $H \succ 0$ on the whole box; "
    r"$\Psi_i > c$ off $S$; the eigenvalues on the face have negative real parts. Hence $w^\ast$ "
    "attracts.",
    (
        "the data are the exact values of their floats",
        r"ridge > 0, or $\nabla F(\theta)$ in the cone of the $\nabla l_i(\theta)$",
        r"distinct gradients on the support, $\nabla F(\theta) \ne 0$",
    ),
    kind="rigorous",
)
def attracting_rest_point(quick: bool) -> Evidence:
    """Let the flow suggest a rest point, then prove it by Krawczyk's operator."""
    trials = [_trial(problem, theta) for problem, theta in _cases(1 if quick else 7)]
    proofs = [trial.proof for trial in trials]
    wrong = next((_wrong_claims(trial) for trial in trials if _serves(trial)), {})
    refused = _refused_in_one_step()
    strayed = [
        np.abs(t.end - t.proof.weights).max() / t.proof.unique_radius if t.proof.proved else np.inf
        for t in trials
    ]
    checks = [
        exactly(
            "problems whose rest point is proved to exist and attract",
            sum(proof.proved for proof in proofs),
            len(proofs),
            "Krawczyk's operator, interval pivots, a Lyapunov matrix",
        ),
        exactly(
            "false or degenerate claims that were proved: " + ", ".join(wrong),
            sum(wrong.values()),
            0,
            "a proof of them would be a fault of the prover",
        ),
        exactly(
            "claims false in one step alone that were refused in that step: " + ", ".join(refused),
            sum(refused.values()),
            len(refused),
            "each step can fail, and fails where theory says so",
        ),
        at_most(
            "hypergradient of the code at the rest point, distance from its enclosure in units of "
            "eps cond(H) max |Psi|",
            max(_outside(trial) for trial in trials),
            100.0,
            "a backward stable solve errs by a modest multiple of eps cond(H)",
        ),
        at_most(
            "distance of the flow's end from the rest point, in radii of the box of uniqueness",
            max(strayed),
            1.0,
            "the flow ended at the rest point that was proved, not at another one",
        ),
        at_most(
            "largest radius of the enclosures of the weights",
            max(proof.weight_radius for proof in proofs),
            1e-9,
            "round-off at 53 bits times the condition of the system; more bits where that fails",
        ),
    ]
    return Evidence(checks, _study(trials, wrong, refused))


@certifies(
    "R2",
    "No rest point of the frozen flow has more than p nonzeros, proved",
    r"For each given tiny problem every support of more than $p$ samples contains $p+1$ rows with "
    r"$\det[\Gamma_T, \mathbf 1] \ne 0$, so that $[\Gamma_S, \mathbf 1](v, c) = 0$ forces $v = 0$ "
    r"against $Hv = \nabla F \ne 0$: no rest point has more than $p$ nonzeros. With ridge 0 rest "
    "points have exactly $p$, and exactly one of them attracts.",
    (
        "the data are the exact values of their floats",
        r"$\nabla F(\theta) \ne 0$ (shown), distinct gradients",
        r"ridge 0: $H$ invertible, $\nabla F(\theta)$ in the cone of the $\nabla l_i(\theta)$",
    ),
    kind="rigorous",
)
def no_denser_rest_point(quick: bool) -> Evidence:
    """Enumerate all supports; with ridge 0 decide those of p samples too."""
    seeds = range(2 if quick else 12)
    left, total, smallest, undecided, lonely, missed = 0, 0, np.inf, 0, 0, 0
    for seed in seeds:
        for p in (1, 2):
            for ridge in (0.0, 0.1):
                problem = ridge_problem(seed, 7, p, ridge)
                theta = _theta(problem, seed)
                result = exclude_dense_supports(problem, theta)
                left, total = left + len(result.open), total + result.num_supports
                smallest = min(smallest, result.smallest_determinant)
                if ridge == 0.0:
                    attracting, unknown = _attracting_vertices(problem, theta)
                    undecided += unknown
                    lonely += len(attracting) == 1
                    missed += _trial(problem, theta).proof.support not in attracting
    checks = [
        exactly(
            f"supports of more than p samples left open, of {total}", left, 0,
            "interval determinants that exclude zero",
        ),
        exactly(
            "ridge 0: supports of p samples of which it is open whether they attract",
            undecided, 0, "signs of the solutions of two linear systems, in balls",
        ),
        exactly(
            "ridge 0: problems with exactly one attracting rest point", lonely, 2 * len(seeds),
            "one facet of conv{grad l_i} is hit by the ray of grad F (theory T5b)",
        ),
        exactly(
            "ridge 0: flows that ended at another support than the attracting one", missed, 0,
            "the flow converges to what attracts",
        ),
        _solved_check(),
        *_duplicate_checks(),
    ]  # fmt: skip
    return Evidence(checks, {"supports": total, "smallest_determinant": smallest})


# ---------------------------------------------------------------------- problems
def _cases(repeats: int) -> Iterator[tuple[Problem, np.ndarray]]:
    """Return problems with and without ridge, with an intercept, heavy tails, n <= p, softmax."""
    for seed in range(repeats):
        for n, p, ridge in ((12, 1, 0.0), (12, 2, 0.0), (16, 3, 1e-2), (20, 4, 0.1), (3, 4, 0.1)):
            problem = ridge_problem(seed, n, p, ridge)
            yield problem, _theta(problem, seed)
        heavy = ridge_problem(seed, 20, 2, 0.0, features="heavy")
        yield heavy, _theta(heavy, seed)
        constant = _with_intercept(ridge_problem(seed, 15, 2, 1e-2))
        yield constant, _theta(constant, seed)
        softmax = softmax_problem(seed, 12, 2, 2, 0.1)
        yield softmax, _theta(softmax, seed)


def _theta(problem: Problem, seed: int) -> np.ndarray:
    """Return a random theta at which the frozen flow has an attracting rest point.

    With ridge 0 there is one only where grad F is in the cone of the grad l_i (theory T5b); other
    draws are passed over.
    """
    rng = np.random.default_rng([seed, problem.num_samples, problem.num_params])
    while True:
        theta = rng.standard_normal(problem.num_params)
        gradients, target = problem.per_sample_grads(theta).T, problem.val_grad(theta)
        if problem.ridge > 0 or nnls(gradients, target)[1] < 1e-9 * np.linalg.norm(target):
            return theta


def _with_intercept(problem: LeastSquares) -> LeastSquares:
    def extended(X: np.ndarray) -> np.ndarray:
        return np.column_stack([X, np.ones(len(X))])

    return LeastSquares(
        extended(problem.X), problem.y, extended(problem.X_val), problem.y_val, ridge=problem.ridge
    )


def _with_duplicate(problem: LeastSquares, i: int) -> LeastSquares:
    """Return the problem with a copy of sample i as its last sample."""
    X, y = np.vstack([problem.X, problem.X[i]]), np.append(problem.y, problem.y[i])
    return LeastSquares(X, y, problem.X_val, problem.y_val, ridge=problem.ridge)


def _trial(problem: Problem, theta: np.ndarray) -> Trial:
    run = integrate_frozen(
        problem, theta=theta, t_span=(0.0, 1e6), rest_tol=REST_TOL, max_evaluations=50_000
    )
    return Trial(problem, theta, run.w[-1], prove_rest_point(problem, theta, run.w[-1]))


# ---------------------------------------------------------------------- what is measured
def _outside(trial: Trial) -> float:
    """Return how far the code's hypergradient lies outside its enclosure, in units of eps cond."""
    proof, problem = trial.proof, trial.problem
    if not proof.proved:
        return np.inf
    psi = problem.hypergradient(trial.theta, proof.weights)
    distance = np.maximum(proof.field_low - psi, psi - proof.field_high).max()
    scale = max(np.abs(proof.field_low).max(), np.abs(proof.field_high).max())
    condition = np.linalg.cond(problem.hessian(trial.theta, proof.weights))
    return max(0.0, distance) / (np.finfo(float).eps * condition * scale)


def _serves(trial: Trial) -> bool:
    """Whether controls can be built from a trial: proved, on ridge data, with a face."""
    proof = trial.proof
    return proof.proved and len(proof.support) > 1 and isinstance(trial.problem, LeastSquares)


def _wrong_claims(trial: Trial) -> dict[str, bool]:
    """Return which of some false or degenerate claims about a proved problem were "proved"."""
    problem, theta, w = trial.problem, trial.theta, trial.proof.weights
    assert isinstance(problem, LeastSquares), "the controls are built from ridge data"
    chosen = trial.proof.support
    lacking = np.where(np.arange(w.size) == chosen[0], 0.0, w)
    copy = np.append(w, 0.5 * w[chosen[0]])
    copy[chosen[0]] *= 0.5
    solved = LeastSquares(problem.X, problem.y, problem.X_val, problem.X_val @ theta, ridge=0.1)
    return {
        "a support that lacks a sample": prove_rest_point(problem, theta, lacking).proved,
        "a duplicated support sample": prove_rest_point(
            _with_duplicate(problem, chosen[0]), theta, copy
        ).proved,
        "grad F = 0 but for round-off, full support": prove_rest_point(
            solved, theta, np.ones(w.size)
        ).proved,
        "a box beside the rest point": _shifted_box(trial),
    }


def _shifted_box(trial: Trial) -> bool:
    """Return whether a zero was "proved" in a box that lies off the rest point."""
    proof = trial.proof
    with precision(proof.precision):
        balls = FrozenBalls.of(trial.problem, trial.theta)
        system = RestPointSystem(balls, proof.support)
        w = [float(x) for x in proof.weights[list(proof.support)]]
        v = np.linalg.solve(
            trial.problem.hessian(trial.theta, proof.weights), trial.problem.val_grad(trial.theta)
        )
        centre = [w[0] + 3e-6, *w[1:], *v, proof.field_value[0]]
        box = ball_matrix(centre)
        for k, x in enumerate(centre):
            box[k, 0] = ball(float(x), 1e-6)
        return enclose_zero(system.residual, system.jacobian, box) is not None


def _refused_in_one_step() -> dict[str, bool]:
    """Return which claims that are false in one step alone were refused in that step, and only it.

    The second is the saddle between the two limits of theory T5b.
    """
    several = two_limits()

    def failed(w: list[float]) -> list[str]:
        steps = prove_rest_point(several.problem, several.theta, np.array(w)).steps
        return [name for name, shown in steps.items() if not shown]

    return {
        "a vertex that an absent sample invades": failed([0.0, 0.0, 1.0]) == ["transversal"],
        "a saddle whose face repels": failed([0.5, 0.5, 0.0]) == ["face"],
        "a singular H, ridge 0": _definite(1.0) and not _definite(0.0),
    }


def _definite(ridge: float) -> bool:
    """Whether H is shown to be positive definite for two parallel samples of two features."""
    problem = LeastSquares([[1.0, 0.0], [2.0, 0.0]], [1.0, 2.0], [[1.0, 0.0]], [5.0], ridge=ridge)
    balls = FrozenBalls.of(problem, np.zeros(2))
    return is_positive_definite(balls.hessian((0, 1), [ball(0.5), ball(0.5)]))


def _attracting_vertices(problem: Problem, theta: np.ndarray) -> tuple[list[tuple[int, ...]], int]:
    r"""Return the supports of p samples that carry an attracting rest point, and how many are open.

    With ridge 0 (theory T5b) the multipliers solve :math:`\Gamma_S^\top \lambda = \nabla F` and the
    functional :math:`\Gamma_S \nu = 1`: attracting iff all :math:`\lambda > 0` and
    :math:`\nabla l_i \cdot \nu < 1` off S.
    """
    p, found, unknown = problem.num_params, [], 0
    with precision(106):
        balls = FrozenBalls.of(problem, theta)
        for S in combinations(range(problem.num_samples), p):
            rows = balls.rows(S)
            multipliers = rows.transpose().solve(balls.target).entries()
            functional = rows.solve(ball_matrix(np.ones(p)))
            gains = (balls.gamma * functional).entries()
            slack = [1 - gain for i, gain in enumerate(gains) if i not in S]
            signs = [*multipliers, *slack]
            if all(sign > 0 for sign in signs):
                found.append(S)
            elif not any(sign < 0 for sign in signs):
                unknown += 1
    return found, unknown


def _solved_check() -> Check:
    """Return the check that grad F = 0 excludes nothing, though the determinants do not vanish."""
    plain, theta = ridge_problem(0, 6, 2, 0.1), np.array([1.0, -0.5])
    solved = LeastSquares(plain.X, plain.y, np.eye(2), theta, ridge=0.1)
    return exactly(
        "control, grad F = 0: supports left open",
        len(exclude_dense_supports(solved, theta).open),
        sum(comb(6, k) for k in range(3, 7)),
        "all: every w is at rest",
    )


def _duplicate_checks() -> list[Check]:
    """Return the checks that the assumption of distinct gradients is needed: it is violated."""
    plain = ridge_problem(0, 6, 2, 0.1)
    theta = _theta(plain, 0)
    proof = _trial(plain, theta).proof
    i = proof.support[0]
    problem = _with_duplicate(plain, i)
    result = exclude_dense_supports(problem, theta)
    split = np.append(proof.weights, 0.3 * proof.weights[i])
    split[i] *= 0.7
    psi = problem.hypergradient(theta, split)
    unrest = np.abs(psi[split > 0] - split @ psi).max() / np.abs(psi).max()
    return [
        exactly(
            "control, a duplicated sample: supports left open",
            len(result.open),
            comb(plain.num_samples - 1, plain.num_params - 1),
            "those of p + 1 samples that contain both copies",
        ),
        at_most(
            "control, its weight split 0.7 : 0.3: residual max |Psi_S - c| / max |Psi|",
            unrest,
            1e-10,
            f"a rest point with {np.count_nonzero(split)} nonzeros where duplicates are allowed",
        ),
    ]


def _study(trials: list[Trial], wrong: dict[str, bool], refused: dict[str, bool]) -> dict[str, Any]:
    problems = [_record(trial) for trial in trials]
    return {"problems": problems, "controls": wrong, "refused_in_one_step": refused}


def _record(trial: Trial) -> dict[str, Any]:
    proof = trial.proof
    return {
        "problem": repr(trial.problem),
        "verdict": proof.verdict,
        "reason": proof.reason,
        "support": list(proof.support),
        "weight_radius": proof.weight_radius,
        "unique_radius": proof.unique_radius,
        "smallest_gap": proof.smallest_gap,
        "precision_bits": proof.precision,
    }
