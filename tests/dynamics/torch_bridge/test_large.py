"""Networks in the large: kinks, indefinite systems, distances, curvatures."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from warmflow.analysis import kkt_residual, rate_ratio, smallest_curvature, theta_error
from warmflow.dynamics import ConvergenceError
from warmflow.dynamics.problems import indefinite_adjoint
from warmflow.dynamics.torch_bridge import TorchProblem
from warmflow.dynamics.torch_bridge.losses import telling_rows

from .modules import cross_entropy, nn, perceptron, torch
from .test_networks import FLAT, labelled


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_wide_networks_with_kinks_are_let_in(dtype: str) -> None:
    for seed in range(3):
        torch.manual_seed(seed)
        module = nn.Sequential(nn.Linear(6, 100), nn.ReLU(), nn.Linear(100, 100), nn.ReLU())
        q = labelled(nn.Sequential(module, nn.Linear(100, 3)), FLAT).to(dtype=dtype)
        again = TorchProblem(
            q.module_at(np.zeros(q.num_params) + 0.01), cross_entropy, (q.X, q.y), (q.X, q.y)
        )
        assert again._is_twice_backward


def test_the_indefinite_adjoint_solves_the_system() -> None:
    q = perceptron(ridge=1e-3)
    w = torch.full((10,), 0.1, dtype=torch.float64)
    theta = 0.3 * torch.cos(torch.arange(q.num_params, dtype=torch.float64))
    H = q.hessian(theta, w)
    assert torch.linalg.eigvalsh(H)[0] < 0
    expected = torch.linalg.solve(H, q.val_grad(theta))
    assert_allclose(indefinite_adjoint(q, theta, w, 1e-8), expected, rtol=1e-5, atol=1e-7)
    with pytest.raises(ConvergenceError, match="indefinite and nearly singular; loosen `tol`"):
        indefinite_adjoint(q, theta, w, 1e-18)


def test_large_indefinite_systems_go_to_the_minimum_residual_method(monkeypatch) -> None:
    monkeypatch.setattr("warmflow.dynamics.problems.base.DENSE_LIMIT", 5)
    q = perceptron(ridge=1e-3)
    w = torch.full((10,), 0.1, dtype=torch.float64)
    theta = 0.3 * torch.cos(torch.arange(q.num_params, dtype=torch.float64))
    expected = torch.linalg.solve(q.hessian(theta, w), q.val_grad(theta))
    assert_allclose(q.adjoint(theta, w), expected, rtol=1e-5, atol=1e-7)
    with pytest.raises(ConvergenceError, match="the adjoint stopped"):
        q.adjoint(theta[None], w)


def test_distances_are_to_the_minimiser_beside_theta() -> None:
    """Exchanging two hidden units gives another minimiser of the same value."""
    q = perceptron(ridge=0.02)
    host, w = q.to(xp=np), np.full(10, 0.1)
    star = host.theta_star(w)
    swap = np.arange(21)
    swap[:12] = swap[:12].reshape(4, 3)[[1, 0, 2, 3]].ravel()
    swap[12:16], swap[16:20] = swap[12:16][[1, 0, 2, 3]], swap[16:20][[1, 0, 2, 3]]
    other = star[swap]
    assert np.linalg.norm(other - star) > 0.1
    assert_allclose(host.train_loss(other, w), host.train_loss(star, w), rtol=1e-12)
    assert theta_error(host, other, w) < 1e-8
    assert_allclose(kkt_residual(host, w, other), kkt_residual(host, w, star), rtol=1e-6)


def test_the_ratio_of_speeds_is_taken_where_it_is_asked_for() -> None:
    host = perceptron(ridge=0.5).to(xp=np)
    theta, w = 0.1 * np.cos(np.arange(21.0)), np.full(10, 0.1)
    psi = host.hypergradient(theta, w)
    curvature = np.linalg.eigvalsh(host.hessian(theta, w))[0]
    expected = 3.0 * np.std(psi) / (2.0 * curvature)
    assert rate_ratio(host, 2.0, 3.0, theta=theta) == pytest.approx(expected, rel=1e-8)
    assert rate_ratio(host, 2.0, 3.0) != pytest.approx(expected, rel=1e-3)


def test_every_sample_must_have_a_finite_loss() -> None:
    """Also one that no trial meets: of 200 real targets 64 are tried."""
    X, y = np.ones((200, 3)), np.zeros(200)
    y[4] = 7.0
    assert 4 not in telling_rows(torch.as_tensor(y))

    def loss(outputs, targets):
        return outputs[:, 0] ** 2 / (targets - 7.0)

    with pytest.raises(ValueError, match="for every sample; it is not at `train` sample 4"):
        TorchProblem(nn.Linear(3, 1), loss, (X, y), (X[:4], y[:4]))
    with pytest.raises(ValueError, match="it is not at `val` sample 4"):
        TorchProblem(nn.Linear(3, 1), loss, (X[:4], y[:4]), (X, y))


def test_smallest_curvatures_of_large_networks_come_from_lanczos(monkeypatch) -> None:
    monkeypatch.setattr("warmflow.analysis.regime.DENSE", 5)
    host = perceptron(ridge=1e-3, width=12).to(xp=np)
    theta, w = 0.3 * np.cos(np.arange(host.num_params)), np.full(10, 0.1)
    exact = np.linalg.eigvalsh(host.hessian(theta, w))[0]
    assert exact < 0
    found = [smallest_curvature(host, theta, w) for _ in range(2)]
    assert found[0] == pytest.approx(exact, rel=1e-3)
    assert found[0] == found[1]
