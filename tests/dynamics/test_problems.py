"""The five oracles and the exact answers, against finite differences and dense algebra."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from warmflow.dynamics import (
    ConvergenceError,
    LeastSquares,
    MultiProblem,
    SoftmaxRegression,
    integrate,
    sweep,
)
from warmflow.dynamics.linalg import cg

from .cases import CASES, Case, case, central_difference, least_squares, softmax, two_clusters

# Central differences of smooth functions with step 1e-6: truncation 1e-12, round-off 1e-10 times
# the size of the function, here of order 1 to 100.
FINITE_DIFFERENCE = {"rtol": 1e-6, "atol": 1e-7}

every = pytest.mark.parametrize("c", CASES.values(), ids=CASES.keys())


@every
def test_gradients_are_derivatives_of_the_losses(c: Case) -> None:
    q = c.problem
    assert_allclose(
        q.val_grad(c.theta), central_difference(q.val_loss, c.theta), **FINITE_DIFFERENCE
    )
    numeric = central_difference(lambda t: q.train_loss(t, c.w), c.theta)
    assert_allclose(q.train_grad(c.theta, c.w), numeric, **FINITE_DIFFERENCE)


@every
def test_train_loss_is_the_weighted_sum_with_the_ridge_outside(c: Case) -> None:
    q = c.problem
    ridge = q.train_loss(c.theta, np.zeros_like(c.w))
    assert_allclose(q.train_loss(c.theta, c.w) - ridge, c.w @ q.per_sample_losses(c.theta))
    assert_allclose(
        q.train_loss(c.theta, 3 * c.w) - ridge, 3 * (q.train_loss(c.theta, c.w) - ridge)
    )


@every
def test_hvp_is_the_derivative_of_the_gradient(c: Case) -> None:
    q, v = c.problem, np.linspace(-1, 2, c.theta.size)
    H = central_difference(lambda t: q.train_grad(t, c.w), c.theta)
    assert_allclose(q.hvp(c.theta, c.w, v), H @ v, **FINITE_DIFFERENCE)
    assert_allclose(q.hvp_at(c.theta, c.w)(v), q.hvp(c.theta, c.w, v), rtol=1e-13)
    if "hessian" in q.capabilities:
        assert_allclose(q.hessian(c.theta, c.w), H, **FINITE_DIFFERENCE)
        assert_allclose(q.hessian(c.theta, c.w), q.hessian(c.theta, c.w).T, atol=1e-14)


@every
def test_jvp_and_per_sample_matrices_are_derivatives_of_the_losses(c: Case) -> None:
    q, v = c.problem, np.linspace(-1, 2, c.theta.size)
    gamma = central_difference(q.per_sample_losses, c.theta)
    assert_allclose(q.per_sample_jvp(c.theta, v), gamma @ v, **FINITE_DIFFERENCE)
    assert_allclose(q.per_sample_grads(c.theta), gamma, **FINITE_DIFFERENCE)
    if "hessian" in q.capabilities:
        rows = central_difference(lambda t: q.per_sample_jvp(t, v), c.theta)
        assert_allclose(q.per_sample_hvp(c.theta, v), rows, **FINITE_DIFFERENCE)


@every
def test_theta_star_is_stationary_and_global(c: Case) -> None:
    q = c.problem
    star = q.theta_star(c.w)
    assert np.linalg.norm(q.train_grad(star, c.w)) <= 1e-10
    others = star + np.random.default_rng(0).normal(size=(50, star.size))
    assert (q.train_loss(others, c.w) > q.train_loss(star, c.w)).all()


@every
def test_hypergradient_is_the_derivative_of_h(c: Case) -> None:
    """T1, through a tight inner solve; also the identity <w, Psi> = ridge <theta*, v> (I2)."""
    q = c.problem
    numeric = central_difference(q.outer_loss, c.w, step=1e-5)
    assert_allclose(q.outer_grad(c.w), numeric, rtol=1e-5, atol=1e-7)
    star = q.theta_star(c.w)
    assert_allclose(q.hypergradient(star, c.w), q.outer_grad(c.w), rtol=1e-9)
    if not isinstance(q, MultiProblem):
        inner = q.ridge * star @ q.adjoint(star, c.w)
        assert_allclose(c.w @ q.outer_grad(c.w), inner, rtol=1e-6, atol=1e-9)


@every
def test_adjoint_solves_the_dense_system_off_theta_star(c: Case) -> None:
    q = c.problem
    H = np.stack([q.hvp(c.theta, c.w, e) for e in np.eye(c.theta.size)])
    v = np.linalg.solve(H, q.val_grad(c.theta))
    assert_allclose(q.adjoint(c.theta, c.w), v, rtol=1e-9, atol=1e-12)
    by_cg = cg(q.hvp_at(c.theta, c.w), q.val_grad(c.theta), tol=1e-13)
    assert by_cg.converged
    assert_allclose(by_cg.x, v, rtol=1e-8, atol=1e-11)


@every
def test_every_oracle_follows_the_batch_rule(c: Case) -> None:
    """The result has the leading axes of all arguments, and equals a loop of singles."""
    q, rng = c.problem, np.random.default_rng(5)
    theta = rng.normal(size=(4, 1, q.num_params))
    w = rng.dirichlet(np.ones(q.num_samples), size=5)
    v = rng.normal(size=q.num_params)
    calls = {
        "val_grad": (q.val_grad, (theta,), (4, 1, q.num_params)),
        "train_grad": (q.train_grad, (theta, w), (4, 5, q.num_params)),
        "hvp": (q.hvp, (theta, w, v), (4, 5, q.num_params)),
        "hvp_at": (lambda t, u, x: q.hvp_at(t, u)(x), (theta, w, v), (4, 5, q.num_params)),
        "per_sample_jvp": (q.per_sample_jvp, (theta, v), (4, 1, q.num_samples)),
        "per_sample_losses": (q.per_sample_losses, (theta,), (4, 1, q.num_samples)),
        "val_loss": (q.val_loss, (theta,), (4, 1)),
        "train_loss": (q.train_loss, (theta, w), (4, 5)),
        "test_loss": (q.test_loss, (theta,), (4, 1)),
        "adjoint": (q.adjoint, (theta, w), (4, 5, q.num_params)),
        "hypergradient": (q.hypergradient, (theta, w), (4, 5, q.num_samples)),
        "theta_star": (q.theta_star, (w,), (5, q.num_params)),
        "outer_loss": (q.outer_loss, (w,), (5,)),
        "outer_grad": (q.outer_grad, (w,), (5, q.num_samples)),
    }
    for name, (call, arguments, shape) in calls.items():
        together = call(*arguments)
        assert together.shape == shape, name
        batched = len(shape) - (0 if name.endswith("loss") else 1)
        whole = [np.broadcast_to(a, (*shape[:batched], a.shape[-1])) for a in arguments]
        for cell in np.ndindex(*shape[:batched]):
            single = call(*(a[cell] for a in whole))
            assert_allclose(together[cell], single, rtol=1e-8, atol=1e-10, err_msg=name)


@every
def test_constants_bound_the_hessian_for_all_weights(c: Case) -> None:
    q, rng = c.problem, np.random.default_rng(2)
    mu, L = q.constants()
    vertices = np.eye(q.num_samples)
    for w in [*rng.dirichlet(np.full(q.num_samples, 0.3), size=20), *vertices]:
        theta = rng.normal(size=q.num_params)
        H = np.stack([q.hvp(theta, w, e) for e in np.eye(q.num_params)])
        eigenvalues = np.linalg.eigvalsh(H)
        assert eigenvalues[0] >= mu - 1e-12
        assert eigenvalues[-1] <= L + 1e-12


def test_the_largest_constant_of_least_squares_is_attained() -> None:
    q = least_squares()
    heaviest = np.argmax((q.X**2).sum(axis=1))
    H = q.hessian(np.zeros(q.num_params), np.eye(q.num_samples)[heaviest])
    assert_allclose(np.linalg.eigvalsh(H)[-1], q.constants()[1], rtol=1e-12)


@every
def test_batches_average_to_the_whole(c: Case) -> None:
    """Disjoint batches with weights n/b average to the full oracles, so sampling is unbiased."""
    q = c.problem
    rows = np.random.default_rng(0).permutation(q.num_samples)
    half = q.num_samples // 2
    parts = [(q.batch(train=r), r) for r in (rows[:half], rows[half:])]
    total = sum(
        len(r) / q.num_samples * part.train_grad(c.theta, c.w[r] * q.num_samples / len(r))
        for part, r in parts
    )
    assert_allclose(total, q.train_grad(c.theta, c.w), rtol=1e-12, atol=1e-14)
    for part, r in parts:
        assert part.num_samples == len(r)
        assert_allclose(part.per_sample_losses(c.theta), q.per_sample_losses(c.theta)[r])
        assert (part.clean == q.clean[r]).all()


def test_a_batch_of_validation_samples_has_their_gradient() -> None:
    q, theta = least_squares(), np.ones(3)
    part = q.batch(val=[0, 3])
    assert part.num_val == 2
    assert_allclose(part.val_grad(theta), q.batch(val=[3, 0]).val_grad(theta))
    singles = [q.batch(val=[k]).val_grad(theta) for k in range(q.num_val)]
    assert_allclose(np.mean(singles, axis=0), q.val_grad(theta), rtol=1e-12)
    assert_allclose(part.val_hessian, part.X_val.T @ part.X_val / 2)


def test_least_squares_without_ridge_takes_the_solution_of_minimum_norm() -> None:
    q = least_squares(n=4, p=7, ridge=0.0)
    w = np.random.default_rng(0).dirichlet(np.ones(4))
    root = np.sqrt(w)
    expected = np.linalg.lstsq(root[:, None] * q.X, root * q.y)[0]
    assert_allclose(q.theta_star(w), expected, rtol=1e-9)
    v = q.adjoint(expected, w)
    pseudo = np.linalg.pinv(q.hessian(expected, w), hermitian=True) @ q.val_grad(expected)
    assert_allclose(v, pseudo, rtol=1e-7, atol=1e-9)


def test_least_squares_without_ridge_and_full_rank_is_weighted_regression() -> None:
    q = least_squares(ridge=0.0)
    w = np.random.default_rng(0).dirichlet(np.ones(q.num_samples))
    expected = np.linalg.solve(q.X.T @ (w[:, None] * q.X), q.X.T @ (w * q.y))
    assert_allclose(q.theta_star(w), expected, rtol=1e-11)
    assert_allclose(q.outer_loss(7 * w), q.outer_loss(w), rtol=1e-11)  # h is 0-homogeneous (I2)


def test_large_least_squares_goes_through_conjugate_gradients() -> None:
    q = least_squares(n=300, p=520, m=50, ridge=0.5)
    w = np.random.default_rng(0).dirichlet(np.ones(300))
    H = q.X.T @ (w[:, None] * q.X) + 0.5 * np.eye(520)
    star = np.linalg.solve(H, q.X.T @ (w * q.y))
    assert_allclose(q.theta_star(w), star, rtol=1e-8, atol=1e-11)
    assert_allclose(q.adjoint(star, w), np.linalg.solve(H, q.val_grad(star)), atol=1e-9)


def test_softmax_needs_a_ridge_for_its_minimiser() -> None:
    q = softmax(ridge=0.0)
    assert "theta_star" not in q.capabilities
    with pytest.raises(ValueError, match=r"lacks theta_star.*`ridge` > 0"):
        q.theta_star(np.full(14, 1 / 14))
    assert_allclose(q.initial_theta(np.full(14, 1 / 14)), np.zeros(9))


def test_the_smallest_curvature_of_softmax_is_its_ridge() -> None:
    c = case(softmax(ridge=0.37))
    assert_allclose(np.linalg.eigvalsh(c.problem.hessian(c.theta, c.w))[0], 0.37, rtol=1e-12)


def test_softmax_accuracy_counts_hits() -> None:
    q = softmax()
    theta = np.random.default_rng(0).normal(size=(2, q.num_params))
    for k in range(2):
        logits = q.X_test @ theta[k].reshape(3, 3)
        expected = (logits.argmax(axis=1) == q.labels_test).mean()
        assert_allclose(q.test_accuracy(theta)[k], expected)


def test_theta_of_softmax_is_in_c_order_of_features_and_classes() -> None:
    q = softmax(f=2, C=3)
    theta = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    logits = q.X @ theta
    top = np.log(np.exp(logits).sum(axis=1))
    expected = top - logits[np.arange(q.num_samples), q.labels]
    assert_allclose(q.per_sample_losses(theta.ravel()), expected, rtol=1e-12)


def test_losses_survive_huge_logits() -> None:
    q = softmax()
    losses = q.per_sample_losses(np.full(9, 1e4) * np.arange(9))
    assert np.isfinite(losses).all()
    assert np.isfinite(q.train_grad(np.full(9, 1e4) * np.arange(9), np.full(14, 1 / 14))).all()


def test_multi_problem_is_the_sum_of_its_blocks() -> None:
    a, b = least_squares(n=6, p=2, seed=1), least_squares(n=6, p=3, seed=2, ridge=0.5)
    q, rng = MultiProblem([a, b]), np.random.default_rng(0)
    theta, w = rng.normal(size=5), rng.dirichlet(np.ones(6))
    assert_allclose(q.train_loss(theta, w), a.train_loss(theta[:2], w) + b.train_loss(theta[2:], w))
    assert_allclose(q.val_loss(theta), (a.val_loss(theta[:2]) + b.val_loss(theta[2:])) / 2)
    mean = (a.hypergradient(theta[:2], w) + b.hypergradient(theta[2:], w)) / 2
    assert_allclose(q.hypergradient(theta, w), mean, rtol=1e-12)


def test_float32_is_kept_and_close() -> None:
    for c in (case(least_squares()), case(softmax())):
        single = c.problem.to(dtype="float32")
        theta, w = c.theta.astype(np.float32), c.w.astype(np.float32)
        psi = single.hypergradient(theta, w)
        assert psi.dtype == np.float32
        assert single.theta_star(w).dtype == np.float32
        # float32 has 1.2e-7; the adjoint multiplies it by the condition of H, under 100 here.
        assert_allclose(psi, c.problem.hypergradient(c.theta, c.w), rtol=1e-4, atol=1e-4)
        assert c.problem.dtype == np.float64


def test_moving_a_problem_drops_what_was_cached() -> None:
    q = least_squares()
    assert q.val_hessian.dtype == np.float64
    assert q.to(dtype="float32").val_hessian.dtype == np.float32


def test_the_problem_keeps_its_own_copy_of_the_data() -> None:
    X, y = np.ones((4, 2)), np.arange(4.0)
    q = LeastSquares(X, y, X, y)
    X[:] = 7.0
    assert (q.X == 1.0).all()


def test_row_space_is_a_proper_subspace_only_where_data_are_deficient() -> None:
    assert least_squares().row_space is None
    assert least_squares(ridge=0.0).row_space is None
    deficient = least_squares(n=4, p=7, ridge=0.0)
    Q = deficient.row_space
    assert Q.shape == (7, 4)
    assert_allclose(deficient.X @ Q @ Q.T, deficient.X, atol=1e-12)


def test_problems_show_their_size() -> None:
    assert repr(two_clusters()) == "LeastSquares(n=60, p=2, m=30, ridge=0.01)"
    assert repr(softmax()) == "SoftmaxRegression(n=14, features=3, classes=3, m=9, ridge=0.1)"


def test_softmax_takes_the_number_of_classes_from_all_labels() -> None:
    q = SoftmaxRegression(np.eye(3), [0, 1, 0], np.eye(3), [0, 4, 1])
    assert q.num_classes == 5
    assert q.num_params == 15


def test_units_of_features_do_not_matter_without_ridge() -> None:
    """With ridge 0 the problem in other units has the same h, Psi and (rescaled) theta_star."""
    q = least_squares(n=40, p=3, ridge=0.0)
    w = np.random.default_rng(0).dirichlet(np.ones(40))
    units = np.array([1e-3, 1e3, 1e6])
    other = LeastSquares(q.X * units, q.y, q.X_val * units, q.y_val, ridge=0.0)
    assert_allclose(other.theta_star(w) * units, q.theta_star(w), rtol=1e-9)
    assert_allclose(other.outer_loss(w), q.outer_loss(w), rtol=1e-9)
    assert_allclose(other.outer_grad(w), q.outer_grad(w), rtol=1e-8)


def test_wide_data_without_ridge_are_solved_in_the_row_space_at_any_size() -> None:
    for p in (20, 520):  # dense, and by conjugate gradients
        q = least_squares(n=6, p=p, ridge=0.0)
        w = np.random.default_rng(0).dirichlet(np.ones(6))
        theta = np.random.default_rng(1).normal(size=p)
        H = q.X.T @ (w[:, None] * q.X)
        expected = np.linalg.pinv(H, hermitian=True, rcond=1e-12) @ q.val_grad(theta)
        assert_allclose(q.adjoint(theta, w), expected, rtol=1e-7, atol=1e-10)


def test_a_singular_hessian_is_named_by_its_cure() -> None:
    X = np.ones((4, 2))
    q = LeastSquares(1e20 * X, np.arange(4.0), X, np.arange(4.0), ridge=1e-9)
    with pytest.raises(np.linalg.LinAlgError, match="raise `ridge`"):
        q.theta_star(np.full(4, 0.25))
    with pytest.raises(ValueError, match=r"`theta0` must be given: .*raise `ridge`"):
        integrate(q)
    with pytest.raises(ValueError, match=r"`theta0` must be given"):
        sweep(q, alpha=[0.1], beta=[0.1])


def test_nan_is_never_converged() -> None:
    with pytest.raises(ConvergenceError, match="gradient norm of nan"):
        softmax().theta_star(np.full(14, np.nan))
    with pytest.raises(ConvergenceError):
        softmax().theta_star(np.full(14, 1 / 14), np.full(9, np.nan))


def test_float32_converges_for_large_features() -> None:
    q = softmax()
    big = SoftmaxRegression(1e3 * q.X, q.labels, q.X_val, q.labels_val, ridge=0.1)
    w = np.full(14, 1 / 14)
    star = big.to(dtype="float32").theta_star(w.astype(np.float32))
    # the gradient has terms of size 1e3, of which float32 keeps 1e-4; the ridge divides by 0.1
    assert_allclose(star, big.theta_star(w), atol=0.05)


def test_fingerprints_tell_data_apart() -> None:
    a, b = least_squares(), least_squares(seed=1)
    assert a.fingerprint() == least_squares().fingerprint()
    assert len({q.fingerprint() for q in (a, b, least_squares(ridge=0.2), softmax())}) == 4
    assert MultiProblem([a, b]).fingerprint() != MultiProblem([b, a]).fingerprint()


def test_features_that_are_all_zero_leave_theta_at_zero() -> None:
    """Ridge 0 and rank 0: the solution of minimum norm, and no field."""
    q = LeastSquares(np.zeros((3, 2)), [1.0, 2.0, 3.0], np.eye(2), [1.0, 1.0], ridge=0.0)
    w = np.full((4, 3), 1 / 3)
    assert_allclose(q.theta_star(w), np.zeros((4, 2)), rtol=0)
    assert_allclose(q.hypergradient(np.ones(2), w), np.zeros((4, 3)), rtol=0)
    assert_allclose(q.in_range(np.ones((5, 2))), np.zeros((5, 2)), rtol=0)
