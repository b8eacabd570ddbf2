"""Two-layer networks and their tangents against plain autograd."""

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from warmflow.dynamics import integrate, methods, run_method
from warmflow.paper_repro.data import Toy
from warmflow.paper_repro.networks import regression

torch = pytest.importorskip("torch", reason="torch is not installed")

DATA = Toy(n=9, m=7, test_size=5, seed=3, scale=0.7).make()
RIDGE = 0.4
X = DATA.X


def plain(units: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The formula of the module, unit by unit."""
    total = np.zeros(len(x))
    for *u, b, a in units:
        total += a * np.tanh(x @ np.array(u) / np.sqrt(x.shape[1]) + b)
    return total / np.sqrt(len(units))


def units_of(net: Any) -> np.ndarray:
    parts = [net.inner, net.bias[:, None], net.outer[:, None]]
    return torch.cat(parts, dim=1).detach().numpy()


def test_the_network_is_its_formula_and_grows_by_adding_units() -> None:
    small, large = regression.two_layer(2, 3, seed=1), regression.two_layer(2, 8, seed=1)
    assert_allclose(small(torch.from_numpy(X)).detach(), plain(units_of(small), X), rtol=1e-13)
    assert_allclose(units_of(large)[:3], units_of(small), rtol=0)
    other = regression.two_layer(2, 3, seed=2)
    assert np.abs(units_of(other) - units_of(small)).min() > 0


def test_outputs_of_a_start_do_not_grow_with_width() -> None:
    sizes = [np.std(plain(units_of(regression.two_layer(2, h, 0)), X)) for h in (10, 1000)]
    assert 0.2 < sizes[1] / sizes[0] < 5


def test_displacement_starts_at_the_network_and_moves_its_parameters() -> None:
    net = regression.two_layer(2, 4, seed=0)
    before = units_of(net)
    problem = regression.as_problem(regression.displaced(net), DATA, RIDGE)
    assert problem.num_params == 16
    assert_allclose(problem.initial_theta(torch.full((9,), 1 / 9)), np.zeros(16))
    step = np.random.default_rng(0).normal(size=16)
    moved = before + np.column_stack([step[:8].reshape(4, 2), step[8:12], step[12:]])
    losses = problem.per_sample_losses(torch.from_numpy(step))
    assert_allclose(losses, 0.5 * (plain(moved, X) - DATA.y) ** 2, rtol=1e-12)
    uniform = np.full(9, 1 / 9)
    ridge = problem.train_loss(torch.from_numpy(step), torch.from_numpy(uniform)) - losses.mean()
    assert float(ridge) == pytest.approx(0.5 * RIDGE * step @ step)


def test_tangent_is_the_central_difference_of_the_outputs() -> None:
    net = regression.two_layer(2, 3, seed=0)
    outputs, slopes = regression.tangent(net, X)
    assert_allclose(outputs, plain(units_of(net), X), rtol=1e-12)
    direction = np.random.default_rng(1).normal(size=12)
    step = np.column_stack([direction[:6].reshape(3, 2), direction[6:9], direction[9:]])
    h = 1e-5
    ends = [plain(units_of(net) + sign * h * step, X) for sign in (1, -1)]
    assert_allclose(slopes @ direction, (ends[0] - ends[1]) / (2 * h), rtol=1e-8, atol=1e-9)


def linear_pair(width: int) -> tuple[Any, Any, np.ndarray]:
    net = regression.two_layer(2, width, seed=0)
    ours, start = regression.tangent_problem(regression.displaced(net), DATA, RIDGE)
    bounds = ours.constants()
    return regression.as_problem(regression.linearised(net), DATA, RIDGE, bounds), ours, start


RULES = [
    methods.Joint(rho=0.2, eta=0.5),
    methods.ConjugateGradient(rho=0.2, eta=0.5, num_cg=3),
    methods.SOBA(rho=0.2, eta=0.5),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_linearised_network_is_least_squares_along_a_run(rule: methods.Method) -> None:
    theirs, ours, start = linear_pair(width=3)
    one, two = (run_method(q, rule, 15, theta0=start) for q in (theirs, ours))
    assert np.abs(two.w[-1] - 1 / 9).max() > 0.05
    assert_allclose(one.theta, two.theta, rtol=0, atol=1e-12)
    assert_allclose(one.w, two.w, rtol=0, atol=1e-12)
    labelled = [run.to_xarray() for run in (one, two)]
    for name in ("val_loss", "test_loss", "ess", "clean_mass"):
        assert_allclose(labelled[0][name], labelled[1][name], rtol=1e-10)


def test_linearised_network_is_least_squares_along_the_flow() -> None:
    theirs, ours, start = linear_pair(width=2)
    options = {"alpha": 1.0, "beta": 2.0, "t_span": (0.0, 0.5), "theta0": start,
               "t_eval": [0.0, 0.5], "rtol": 1e-9, "atol": 1e-11}  # fmt: skip
    one, two = (integrate(q, **options) for q in (theirs.to(xp=np), ours))
    assert np.abs(two.w[-1] - 1 / 9).max() > 0.01
    assert_allclose(one.theta[-1], two.theta[-1], atol=1e-9)
    assert_allclose(one.w[-1], two.w[-1], atol=1e-9)


def test_compact_coordinates_change_no_weight() -> None:
    module = regression.displaced(regression.two_layer(2, 6, seed=0))
    full, start = regression.tangent_problem(module, DATA, RIDGE)
    small, origin = regression.tangent_problem(module, DATA, RIDGE, compact=True)
    assert (full.num_params, small.num_params) == (24, 9)
    one = run_method(full, RULES[0], 30, theta0=start)
    two = run_method(small, RULES[0], 30, theta0=origin)
    assert_allclose(one.w, two.w, rtol=0, atol=1e-12)
    assert_allclose(full.val_loss(one.theta[-1]), small.val_loss(two.theta[-1]), rtol=1e-12)


def test_tangent_at_a_trained_network_has_its_gradients_and_gauss_newton_hessian() -> None:
    net = regression.as_problem(
        regression.displaced(regression.two_layer(2, 2, seed=0)), DATA, RIDGE
    ).to(xp=np)
    w = np.random.default_rng(0).dirichlet(np.ones(9))
    theta = net.theta_star(w)
    line, at = regression.tangent_problem(net.origin.module_at(theta), DATA, RIDGE)
    assert_allclose(at, theta, rtol=1e-14)
    assert_allclose(line.per_sample_losses(at), net.per_sample_losses(theta), rtol=1e-10)
    assert_allclose(line.per_sample_grads(at), net.per_sample_grads(theta), rtol=1e-9, atol=1e-12)
    assert_allclose(line.val_grad(at), net.val_grad(theta), rtol=1e-9, atol=1e-12)
    residual = line.residuals(at)
    bent = net.hessian(theta, w) - line.hessian(at, w)
    at_zero = sum(
        w[i] * residual[i] * _output_hessian(net.origin, theta, i) for i in range(9)
    )  # what Gauss and Newton leave out
    assert_allclose(bent, at_zero, atol=1e-9)
    assert np.abs(bent).max() > 1e-3


def _output_hessian(problem: Any, theta: np.ndarray, i: int) -> np.ndarray:
    """Hessian of one output by torch.autograd: no code of the package but the module."""
    module, x = problem.module_at(theta), torch.from_numpy(X[i : i + 1])
    names = [name for name, a in module.named_parameters() if a.requires_grad]
    shapes = [a.shape for a in module.parameters() if a.requires_grad]

    def output(flat: Any) -> Any:
        parts = flat.split([s.numel() for s in shapes])
        named = {k: a.reshape(s) for k, a, s in zip(names, parts, shapes, strict=True)}
        return torch.func.functional_call(module, named, (x,))[0]

    return torch.autograd.functional.hessian(output, torch.from_numpy(theta)).numpy()
