"""Analysis of runs of a small smooth network against dense matrices from torch.autograd.

The reference shares nothing with the bridge: plain torch, one dense Hessian, one dense Jacobian.
"""

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from warmflow import analysis
from warmflow.analysis import rest_points, stability
from warmflow.dynamics import Trajectory, integrate, integrate_frozen, methods, run_method
from warmflow.dynamics.torch_bridge import TorchProblem

torch = pytest.importorskip("torch", reason="torch is not installed")

N, M, RIDGE = 8, 6, 0.1
RNG = np.random.default_rng(5)
X, X_VAL = RNG.normal(size=(N, 2)), RNG.normal(size=(M, 2))
Y = 2.0 * X[:, 0] + 0.3 * RNG.normal(size=N)
Y_VAL = 2.0 * X_VAL[:, 0] + X_VAL[:, 1]
CLEAN = np.arange(N) < 5
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")


def network() -> Any:
    torch.manual_seed(0)
    layers = [torch.nn.Linear(2, 2), torch.nn.Tanh(), torch.nn.Linear(2, 1), torch.nn.Flatten(0)]
    return torch.nn.Sequential(*layers).double()


def squares(outputs: Any, targets: Any) -> Any:
    return 0.5 * (outputs - targets) ** 2


def outputs(theta: Any, x: np.ndarray) -> Any:
    W, b, v, c = theta[:4].reshape(2, 2), theta[4:6], theta[6:8], theta[8]
    return torch.tanh(torch.from_numpy(x) @ W.T + b) @ v + c


def losses(theta: Any) -> Any:
    return squares(outputs(theta, X), torch.from_numpy(Y))


def outer(theta: Any) -> Any:
    return squares(outputs(theta, X_VAL), torch.from_numpy(Y_VAL)).mean()


def inner(w: np.ndarray, ridge: float) -> Any:
    return lambda theta: torch.from_numpy(w) @ losses(theta) + 0.5 * ridge * (theta**2).sum()


def warm() -> np.ndarray:
    """Gradient steps from the module's parameters at uniform weights."""
    theta = torch.cat([a.detach().reshape(-1) for a in network().parameters()])
    for _ in range(300):
        theta = theta - 0.3 * torch.func.grad(inner(np.full(N, 1 / N), RIDGE))(theta)
    return theta.numpy()


class Dense:
    """Everything at one point, from ``torch.autograd.functional``."""

    def __init__(self, theta: np.ndarray, w: np.ndarray, ridge: float = RIDGE) -> None:
        at, tools = torch.from_numpy(np.array(theta)), torch.autograd.functional
        self.H = tools.hessian(inner(w, ridge), at).numpy()
        self.gamma = tools.jacobian(losses, at).numpy()
        self.grad_outer = tools.jacobian(outer, at).numpy()
        self.grad_inner = tools.jacobian(inner(w, ridge), at).numpy()
        self.psi = -self.gamma @ np.linalg.solve(self.H, self.grad_outer)


def minimiser(w: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """Newton's method with dense matrices."""
    for _ in range(30):
        here = Dense(theta, w)
        theta = theta - np.linalg.solve(here.H, here.grad_inner)
    assert np.abs(here.grad_inner).max() < 1e-12
    assert np.linalg.eigvalsh(here.H)[0] > 0
    return theta


@pytest.fixture(scope="module")
def problem() -> TorchProblem:
    return TorchProblem(
        network(), squares, (X, Y), (X_VAL, Y_VAL), ridge=RIDGE, test=(X_VAL, Y_VAL), clean=CLEAN
    )


@pytest.fixture(scope="module")
def host(problem: TorchProblem) -> Any:
    return problem.to(xp=np)


@pytest.fixture(scope="module")
def start() -> np.ndarray:
    return warm()


@pytest.fixture(scope="module")
def run(problem: TorchProblem, start: np.ndarray) -> Trajectory:
    return run_method(problem, methods.Joint(rho=0.3, eta=0.1), num_steps=20, theta0=start)


@pytest.fixture(scope="module")
def end(run: Trajectory) -> tuple[np.ndarray, np.ndarray]:
    return run.theta[-1], run.w[-1] / run.w[-1].sum()


def test_diagnose_reads_a_run_of_a_network(run: Trajectory) -> None:
    report = analysis.diagnose(run)
    w = run.w[-1]
    assert report.evidence["ess"] == pytest.approx(1 / (w @ w))
    assert report.evidence["clean_mass"] == pytest.approx(w[CLEAN].sum())
    assert report.evidence["val_loss"] == pytest.approx(
        [float(outer(torch.from_numpy(run.theta[k]))) for k in (0, -1)]
    )
    assert report.verdict == analysis.diagnose(run.w).verdict


def test_run_report_against_dense_newton(run: Trajectory) -> None:
    report = analysis.run_report(run, num_points=3)
    for k, row in enumerate((0, 10, 20)):
        theta, w = run.theta[row], run.w[row] / run.w[row].sum()
        star = minimiser(w, theta)
        g = Dense(star, w).psi
        value = {name: float(report[name][k]) for name in report if report[name].ndim == 1}
        assert value["outer_loss"] == pytest.approx(float(outer(torch.from_numpy(star))))
        assert value["theta_error"] == pytest.approx(np.linalg.norm(theta - star), rel=1e-7)
        assert value["kkt_residual"] == pytest.approx(w @ g - g.min(), rel=1e-7)
        assert value["condition"] == pytest.approx(np.linalg.cond(Dense(theta, w).H), rel=1e-9)
        assert value["test_loss_star"] == pytest.approx(value["outer_loss"])


def test_optimality_at_the_end(host: Any, end: tuple[np.ndarray, np.ndarray]) -> None:
    theta, w = end
    star = minimiser(w, theta)
    g, used = Dense(star, w).psi, Dense(theta, w).psi
    assert_allclose(analysis.kkt_residual(host, w), w @ g - g.min(), rtol=1e-7)
    assert_allclose(analysis.theta_error(host, theta, w), np.linalg.norm(theta - star), rtol=1e-7)
    one, two = used - w @ used, g - w @ g
    cosine = (w * one * two).sum() / np.sqrt((w * one**2).sum() * (w * two**2).sum())
    assert 0 < cosine < 1 - 1e-6
    assert_allclose(analysis.cosine_to_exact(host, theta, w, used), cosine, rtol=1e-8)


def test_regime_against_dense_matrices(host: Any, end: tuple[np.ndarray, np.ndarray]) -> None:
    theta, w = end
    smallest = np.linalg.eigvalsh(Dense(theta, w).H)[0]
    assert analysis.smallest_curvature(host, theta, w) == pytest.approx(smallest, rel=1e-9)
    uniform = np.full(N, 1 / N)
    at = Dense(host.theta_star(uniform), uniform)
    ratio = 3.0 * np.std(at.psi) / (0.5 * np.linalg.eigvalsh(at.H)[0])
    assert analysis.rate_ratio(host, 0.5, 3.0) == pytest.approx(ratio, rel=1e-7)


def test_gradient_rank_of_a_network(host: Any, end: tuple[np.ndarray, np.ndarray]) -> None:
    gamma = Dense(*end).gamma
    found = analysis.gradient_rank(host, end[0])
    bordered = np.hstack([gamma, np.ones((N, 1))])
    assert found.rank == np.linalg.matrix_rank(bordered) - 1 == N - 1
    centred = np.linalg.svd(gamma - gamma.mean(axis=0), compute_uv=False)
    assert_allclose(found.singular_values, centred, rtol=1e-9, atol=1e-12)


def test_the_flow_of_a_network_is_the_limit_of_its_algorithm(host: Any, start: Any) -> None:
    flow = integrate(
        host, alpha=1.0, beta=0.2, t_span=(0.0, 1.0), t_eval=[0.0, 1.0], rtol=1e-6, atol=1e-8,
        theta0=start,
    )  # fmt: skip
    gaps = []
    for steps in (5, 10):
        rule = methods.Joint(rho=1 / steps, eta=0.2 / steps)
        euler = run_method(host, rule, num_steps=steps, theta0=start)
        gaps.append(np.abs(euler.w[-1] - flow.w[-1]).max())
    assert 1.7 < gaps[0] / gaps[1] < 2.3
    assert analysis.diagnose(flow).evidence["ess"] == pytest.approx(1 / (flow.w[-1] @ flow.w[-1]))


def test_rest_point_on_a_face_of_a_network() -> None:
    """With a ridge that keeps H positive definite; at the start, where grad F is not small."""
    strong = 2.5
    problem = TorchProblem(network(), squares, (X, Y), (X_VAL, Y_VAL), ridge=strong)
    host, theta = problem.to(xp=np), problem.initial_theta(torch.ones(N)).numpy()
    flow = integrate_frozen(
        host, theta=theta, t_span=(0.0, 400.0), t_eval=[0.0, 400.0], rtol=1e-6, atol=1e-8
    )
    w = flow.w[-1] / flow.w[-1].sum()
    chosen = np.flatnonzero(w > 1e-6 * w.max())
    assert chosen.size < N
    point = rest_points.rest_point_on_face(host, theta, chosen, w)
    assert point.attracting
    psi = Dense(theta, point.w, strong).psi
    assert_allclose(psi[chosen], point.c, rtol=1e-9)
    assert np.delete(psi, chosen).min() > point.c
    assert_allclose(point.w, w, atol=1e-4)


def test_depth_and_the_polytope_need_gradients_alone(
    host: Any, end: tuple[np.ndarray, np.ndarray]
) -> None:
    theta, w = end
    g = Dense(theta, w).gamma + RIDGE * theta
    assert_allclose(rest_points.criterion_gradients(host, theta), g, rtol=1e-9, atol=1e-12)
    star = minimiser(w, theta)
    assert rest_points.is_solvable(host, star)
    vertex = rest_points.solved_vertex(host, star, np.arange(N) % 3 - 1.0)
    held = Dense(star, w).gamma + RIDGE * star
    assert_allclose(vertex @ held, 0, atol=1e-6)


def test_rates_of_absent_samples_are_those_of_the_dense_field(
    host: Any, end: tuple[np.ndarray, np.ndarray]
) -> None:
    theta, w = end
    w = np.where(np.arange(N) % 3 == 0, 0.0, w)
    w = w / w.sum()
    psi = Dense(theta, w).psi
    rates = stability.transversal_rates(host, theta, w, 2.0)
    assert_allclose(rates, 2.0 * (w @ psi - psi)[w == 0], rtol=1e-8)


@pytest.mark.parametrize("name", ["joint_jacobian", "kappa"])
def test_stability_speaks_of_least_squares_only(
    host: Any, end: tuple[np.ndarray, np.ndarray], name: str
) -> None:
    rates = {"joint_jacobian": (1.0, 1.0), "kappa": ()}[name]
    with pytest.raises(TypeError, match=f"`problem` must be LeastSquares for {name}; got Hosted"):
        getattr(stability, name)(host, *end, *rates)
