"""The one conjugate gradient and the dense solves."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from warmflow.dynamics.linalg import apply_last, cg, solve_spd


def spd(p: int, seed: int = 0, condition: float = 100.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    Q = np.linalg.qr(rng.normal(size=(p, p)))[0]
    return (Q * np.geomspace(1.0, condition, p)) @ Q.T


def test_cg_on_the_identity_takes_one_product() -> None:
    """A CG that returns the iterate before the last gives zero here."""
    b = np.arange(1.0, 6.0)
    result = cg(lambda v: v, b)
    assert_allclose(result.x, b)
    assert result.num_iterations == 1


def test_cg_is_exact_after_p_steps_and_descends_in_the_energy_norm() -> None:
    A, b = spd(6), np.arange(1.0, 7.0)
    exact = np.linalg.solve(A, b)
    energies = []
    for k in range(1, 7):
        x = cg(lambda v: v @ A, b, tol=1e-16, max_iterations=k).x
        energies.append((x - exact) @ A @ (x - exact))
    assert (np.diff(energies) < 0).all()
    assert energies[-1] < 1e-20 * energies[0]


def test_cg_obeys_its_convergence_bound() -> None:
    """|e_k|_A <= 2 ((r-1)/(r+1))^k |e_0|_A with r = sqrt(cond A)."""
    A, b = spd(40, condition=1e4), np.random.default_rng(1).normal(size=40)
    exact = np.linalg.solve(A, b)
    first = np.sqrt(exact @ A @ exact)
    for k in (5, 10, 20):
        error = cg(lambda v: v @ A, b, tol=0.0, max_iterations=k).x - exact
        assert np.sqrt(error @ A @ error) <= 2 * (99 / 101) ** k * first


def test_cg_stops_at_the_tolerance_it_reports() -> None:
    A, b = spd(30, condition=1e3), np.random.default_rng(1).normal(size=30)
    for tol in (1e-3, 1e-8):
        result = cg(lambda v: v @ A, b, tol=tol)
        assert result.converged
        true = np.linalg.norm(b - A @ result.x) / np.linalg.norm(b)
        assert_allclose(result.residual, true, rtol=1e-3)
        assert true <= tol * 1.001


def test_cg_says_when_it_did_not_converge() -> None:
    A = spd(30, condition=1e6)
    result = cg(lambda v: v @ A, np.ones(30), max_iterations=3)
    assert not result.converged
    assert result.residual > 1e-12


def test_cg_batched_is_a_loop_of_singles() -> None:
    matrices = np.stack([spd(8, seed, condition=10.0**seed) for seed in range(4)])
    b = np.random.default_rng(0).normal(size=(4, 8))
    b[2] = 0.0
    together = cg(lambda v: np.einsum("bij,bj->bi", matrices, v), b)
    for k in range(4):
        alone = cg(lambda v, k=k: matrices[k] @ v, b[k])
        assert_allclose(together.x[k], alone.x, rtol=1e-9, atol=1e-12)
    assert (together.x[2] == 0.0).all()


def test_cg_starts_from_its_guess() -> None:
    A, b = spd(10), np.ones(10)
    exact = np.linalg.solve(A, b)
    assert cg(lambda v: v @ A, b, guess=exact, tol=1e-10).num_iterations == 0
    guess = np.full(10, 3.0)
    assert_allclose(cg(lambda v: v @ A, b, guess=guess).x, exact, rtol=1e-9)
    assert (guess == 3.0).all()


def test_solve_spd_is_the_pseudo_inverse_where_rank_is_missing() -> None:
    A = spd(5)
    deficient = A - np.outer(A[:, 0], A[:, 0]) / A[0, 0]
    stack, B = np.stack([A, deficient]), np.random.default_rng(0).normal(size=(5, 3))
    X = solve_spd(stack, B, may_be_singular=True)
    assert_allclose(X[0], np.linalg.solve(A, B), rtol=1e-12)
    assert_allclose(X[1], np.linalg.pinv(deficient, hermitian=True) @ B, rtol=1e-9, atol=1e-12)
    with pytest.raises(np.linalg.LinAlgError):
        solve_spd(np.zeros((2, 2)), np.ones((2, 1)))


def test_apply_last_is_a_matrix_product_over_leading_axes() -> None:
    rng = np.random.default_rng(0)
    a, M = rng.normal(size=(2, 1, 3, 4)), rng.normal(size=(4, 5))
    assert_allclose(apply_last(a, M), a @ M, rtol=1e-13)
    assert apply_last(a[0, 0, 0], M).shape == (5,)
