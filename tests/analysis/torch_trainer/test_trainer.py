"""The trainer: the method itself under SGD, any optimizer, batches, logs, warnings."""

import warnings
from functools import partial

import numpy as np
import pytest
from numpy.testing import assert_allclose

from warmflow.analysis import diagnose, ess
from warmflow.dynamics import ConvergenceError, methods, run_method
from warmflow.dynamics.torch_bridge import TorchProblem

torch = pytest.importorskip("torch", reason="torch is not installed")
from warmflow.analysis.torch_trainer import (  # noqa: E402
    CollapseWarning,
    NewtonCG,
    ReweightedTrainer,
)
from warmflow.analysis.torch_trainer.log import Log  # noqa: E402
from warmflow.analysis.torch_trainer.watch import collapse_ahead  # noqa: E402

pytestmark = pytest.mark.filterwarnings(
    "ignore:weights (have|are) collaps:warmflow.analysis.torch_trainer.CollapseWarning"
)

nn = torch.nn
SGD = partial(torch.optim.SGD, lr=0.1)


def half_square(outputs, targets):
    return 0.5 * (outputs[:, 0] - targets) ** 2


def problem(width: int = 0, ridge: float = 0.05, n: int = 24) -> TorchProblem:
    """Two opposite laws, of which the first half obeys that of the validation samples."""
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    module = nn.Linear(3, 1)
    if width:
        module = nn.Sequential(nn.Linear(3, width), nn.Tanh(), nn.Linear(width, 1))
    clean = np.arange(n) < n // 2
    X, X_val = rng.normal(size=(n, 3)), rng.normal(size=(12, 3))
    y = np.where(clean, 1.0, -1.0) * X.sum(1)
    return TorchProblem(
        module,
        half_square,
        (X, y),
        (X_val, X_val.sum(1)),
        ridge=ridge,
        dtype="float64",
        clean=clean,
        test=(X_val + 1.0, X_val.sum(1) + 3.0),
    )


METHODS = {
    "joint": methods.Joint(rho=0.1, eta=0.05),
    "soba": methods.SOBA(rho=0.1, eta=0.05),
    "conjugate gradient": methods.ConjugateGradient(rho=0.1, eta=0.05, num_inner_steps=3),
    "f2sa": methods.F2SA(rho=0.1, eta=0.05),
    "meta-weight-net": methods.MetaWeightNet(rho=0.1),
    "learning to reweight": methods.LearningToReweight(rho=0.1),
    "self-tuning": methods.SelfTuning(rho=0.1, eta=0.05),
    "w first": methods.Joint(rho=0.1, eta=0.05, order="w_first"),
}


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())
def test_under_sgd_of_the_same_step_it_is_the_method_itself(method: methods.Method) -> None:
    q = problem()
    trainer = ReweightedTrainer(q, method, SGD, seed=3, num_logged=5)
    trainer.fit(20)
    expected = run_method(q, method, num_steps=20, seed=3, num_saved=5)
    found = trainer.trajectory
    np.testing.assert_array_equal(found.t, expected.t)
    # (theta - (theta - rho g)) / rho is g up to round-off.
    assert_allclose(found.theta, expected.theta, rtol=1e-9, atol=1e-12)
    assert_allclose(found.w, expected.w, rtol=1e-9)


def by_hand(q: TorchProblem, eta: float, make, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Train as a user would: autograd on the module, exact field for the weights."""
    module = q.module_at(q.initial_theta(q.X.new_ones(1)).numpy())
    optimizer = make(list(module.parameters()))
    log_w = torch.full((q.num_samples,), -np.log(q.num_samples), dtype=torch.float64)
    for _ in range(steps):
        theta = torch.cat([a.detach().reshape(-1) for a in module.parameters()])
        field = q.hypergradient(theta, log_w.exp())
        optimizer.zero_grad()
        loss = log_w.exp() @ half_square(module(q.X), q.y)
        for a in module.parameters():
            loss = loss + 0.5 * q.ridge * (a**2).sum()
        loss.backward()
        optimizer.step()
        log_w = (log_w - eta * field).log_softmax(0)
    return torch.cat([a.detach().reshape(-1) for a in module.parameters()]).numpy(), log_w.exp()


OPTIMIZERS = {
    "momentum": partial(torch.optim.SGD, lr=0.05, momentum=0.9),
    "adam": partial(torch.optim.Adam, lr=0.02),
    "adagrad": partial(torch.optim.Adagrad, lr=0.05),
}


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
def test_optimizers_of_torch_see_the_gradients_that_they_would_see(make) -> None:
    q = problem(width=3)
    trainer = ReweightedTrainer(q, methods.Joint(rho=0.1, eta=0.02), make)
    trainer.fit(15)
    theta, w = by_hand(q, 0.02, make, 15)
    assert_allclose(trainer.trajectory.theta[-1], theta, rtol=1e-8, atol=1e-10)
    assert_allclose(trainer.trajectory.w[-1], w, rtol=1e-8)


def test_newton_solves_a_quadratic_in_one_step() -> None:
    q = problem()
    method = methods.Joint(rho=0.1, eta=0.0)
    ReweightedTrainer(q, method, NewtonCG())  # knobs have defaults
    trainer = ReweightedTrainer(q, method, NewtonCG(num_cg=10))
    trainer.fit(1)
    uniform = torch.full((24,), 1 / 24, dtype=torch.float64)
    assert_allclose(trainer.trajectory.theta[-1], q.theta_star(uniform), atol=1e-7)


def test_newton_descends_where_the_curvature_is_negative() -> None:
    q = problem(width=4, ridge=1e-3)
    start = torch.zeros(q.num_params, dtype=torch.float64) + 0.01
    flat = TorchProblem(q.module_at(start), half_square, (q.X, q.y), (q.X_val, q.y_val), ridge=1e-3)
    uniform = torch.full((24,), 1 / 24, dtype=torch.float64)
    assert torch.linalg.eigvalsh(flat.hessian(start, uniform)).min() < 0
    trainer = ReweightedTrainer(flat, methods.ConjugateGradient(rho=0.1, eta=0.0), NewtonCG())
    trainer.fit(15)
    losses = flat.train_loss(torch.as_tensor(trainer.trajectory.theta), uniform)
    assert (losses.diff() <= 1e-12).all()
    assert losses[-1] < 0.9 * losses[0]


def loader_of(q: TorchProblem, size: int = 8, **options: object):
    data = torch.utils.data.TensorDataset(q.X, q.y)
    return torch.utils.data.DataLoader(data, batch_size=size, **options)


def test_a_loader_deals_every_sample_once_an_epoch_and_leaves_generators_alone() -> None:
    q, seen = problem(), []
    own = torch.Generator()
    before, mine = torch.random.get_rng_state(), own.get_state()
    trainer = ReweightedTrainer(
        q, methods.OneStep(rho=0.1, eta=0.01), SGD, loader=loader_of(q, shuffle=True, generator=own)
    )
    rows = trainer._problem.sampler
    for step in range(6):
        seen.append(rows(step))
    assert all(len(batch) == 8 for batch in seen)
    for epoch in (seen[:3], seen[3:]):
        np.testing.assert_array_equal(np.sort(np.concatenate(epoch)), np.arange(24))
    assert any((a != b).any() for a, b in zip(seen[:3], seen[3:], strict=True))
    np.testing.assert_array_equal(rows(1), seen[1])
    assert torch.random.get_rng_state().equal(before)
    assert own.get_state().equal(mine)


def test_batches_of_a_loader_are_those_of_the_method() -> None:
    """In order and without shuffling, a step is that of the problem on these samples."""
    q = problem()
    method = methods.OneStep(rho=0.1, eta=0.05, order="simultaneous")
    trainer = ReweightedTrainer(q, method, SGD, loader=loader_of(q, size=24))
    trainer.fit(10)
    expected = run_method(q, method, num_steps=10)  # one batch of everything
    assert_allclose(trainer.trajectory.theta[-1], expected.theta[-1], rtol=1e-9)
    part = ReweightedTrainer(q, method, SGD, loader=loader_of(q, size=8), num_logged=2)
    part.fit(1)
    w = torch.full((24,), 1 / 24, dtype=torch.float64)
    theta = q.initial_theta(w)
    gradient = q.batch(train=np.arange(8)).train_grad(theta, w[:8] * 3.0)
    assert_allclose(part.trajectory.theta[-1], theta - 0.1 * gradient, rtol=1e-9)


def test_the_dataset_is_that_of_every_run_and_more() -> None:
    q = problem()
    method = methods.Joint(rho=0.1, eta=0.05)
    trainer = ReweightedTrainer(q, method, SGD, num_logged=5)
    ds = trainer.fit(20)
    plain = run_method(q, method, num_steps=20, num_saved=5).to_xarray()
    assert {*plain.data_vars} < {*ds.data_vars}
    assert_allclose(ds["ess"], plain["ess"])
    assert_allclose(ds["ess"], ess(ds["w"].values))
    # Joint uses the exact field.
    assert_allclose(ds["cosine"], 1.0, rtol=1e-6)
    theta, w = (torch.as_tensor(ds[name].values[2]) for name in ("theta", "w"))
    psi = q.hypergradient(theta, w)
    spread = ((w * (psi - w @ psi) ** 2).sum()).sqrt()
    curvature = torch.linalg.eigvalsh(q.hessian(theta, w))[0]
    assert_allclose(ds["curvature"][2], curvature, rtol=1e-6)
    assert_allclose(ds["R"][2], 0.05 * spread / (0.1 * curvature), rtol=1e-6)
    assert diagnose(trainer.trajectory).evidence["eta"] == 0.05
    assert_allclose(
        trainer.module(q.X).detach()[:, 0] - q.y,
        (2 * q.per_sample_losses(torch.as_tensor(trainer.trajectory.theta[-1]))).sqrt()
        * (trainer.module(q.X).detach()[:, 0] - q.y).sign(),
        rtol=1e-9,
    )


def test_a_biased_field_shows_in_the_cosine() -> None:
    q = problem()
    ds = ReweightedTrainer(q, methods.OneStep(rho=0.1, eta=0.01), SGD, num_logged=3).fit(4)
    assert (ds["cosine"] < 0.999).all()


def test_where_h_is_indefinite_the_ridge_stands_in_and_the_cosine_is_unknown() -> None:
    q = problem(width=4, ridge=1e-3)
    start = torch.zeros(q.num_params, dtype=torch.float64) + 0.01
    flat = TorchProblem(q.module_at(start), half_square, (q.X, q.y), (q.X_val, q.y_val), ridge=1e-3)
    method = methods.ConjugateGradient(rho=0.1, eta=1e-3)
    ds = ReweightedTrainer(flat, method, SGD, num_logged=2).fit(1)
    assert ds["curvature"][0] < 0
    assert np.isnan(ds["cosine"][0])
    assert np.isfinite(ds["R"][0])


def test_a_collapse_is_announced_before_it_happens() -> None:
    q = problem(n=240)
    rho, eta = 0.003, 0.01
    make = partial(torch.optim.SGD, lr=rho)
    trainer = ReweightedTrainer(q, methods.Joint(rho=rho, eta=eta), make, num_logged=41)
    with pytest.warns(CollapseWarning, match="weights are collapsing.*lower `eta` below") as caught:
        ds = trainer.fit(120)
    assert len(caught) == 1
    announced = int(str(caught[0].message).split("step ")[1].split(",")[0])
    small = 0.05 * 240
    assert (ds["ess"].sel(step=announced) > small).all()
    assert (ds["ess"].sel(step=slice(announced, None)) < small).any()


def test_weights_that_only_drop_bad_samples_are_no_alarm() -> None:
    q = problem(n=120)
    calm = ReweightedTrainer(q, methods.Joint(rho=0.2, eta=2e-3), partial(torch.optim.SGD, lr=0.2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ds = calm.fit(200)
    assert ds["clean_mass"][-1] > 0.6


def test_the_warning_needs_a_fall_that_ends_within_the_run() -> None:
    def log_of(sizes: list[int], num_steps: int) -> Log:
        log = Log(num_steps, 11)
        for k, size in enumerate(sizes):
            w = np.full(100, 1e-300)
            w[:size] = 1.0 / size
            log.add(10 * k, np.zeros(1), np.log(w), {"R": 4.0 - k})
        return log

    assert collapse_ahead(log_of([60, 15], 100), 0.1) is None
    assert collapse_ahead(log_of([10, 20, 18], 100), 0.1) is None
    assert collapse_ahead(log_of([20, 19, 18], 100), 0.1) is None  # would take 240 steps
    assert collapse_ahead(log_of([100, 60, 30], 100), 0.1) is None  # still far
    text = collapse_ahead(log_of([60, 30, 15], 100), 0.1)
    assert collapse_ahead(log_of([100, 4], 100), 0.1).startswith(
        "weights have collapsed: effective"
    )
    # log(15/5) / log(30/15) = 1.58 intervals of 10 steps after step 20
    assert text == (
        "weights are collapsing: effective sample size 15 of 100 at step 20, 5 by step 35; R = 4; "
        "lower `eta` below 0.025."
    )


def test_progress_is_told() -> None:
    shares: list[float] = []
    ReweightedTrainer(problem(), METHODS["soba"], SGD, progress=shares.append).fit(7)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_every_fit_starts_afresh() -> None:
    trainer = ReweightedTrainer(problem(), METHODS["joint"], OPTIMIZERS["adam"])
    np.testing.assert_array_equal(trainer.fit(10)["theta"], trainer.fit(10)["theta"])


def test_an_analysis_that_fails_does_not_end_the_training() -> None:
    class Failing(methods.SOBA):
        def direction(self, *_):
            raise ConvergenceError("no")

    ds = ReweightedTrainer(problem(), Failing(rho=0.1, eta=0.01), SGD, num_logged=3).fit(6)
    assert np.isnan(ds["R"]).all()
    assert ds["step"].values.tolist() == [0, 3, 6]


def test_a_collapse_without_an_outer_step_is_told_without_one() -> None:
    log = Log(10, 3)
    w = np.full(100, 1e-300)
    w[0] = 1.0
    log.add(0, np.zeros(1), np.log(w), {"R": float("nan")})
    text = collapse_ahead(log, float("nan"))
    assert "weights have collapsed" in text
    assert "nan" not in text


def test_a_scheduler_steps_after_the_optimizer() -> None:
    def make(params):
        optimizer = torch.optim.SGD(params, lr=0.1)
        return optimizer, torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)

    q = problem()
    ds = ReweightedTrainer(q, methods.Joint(rho=0.1, eta=0.0), make, num_logged=5).fit(4)
    w = torch.full((24,), 1 / 24, dtype=torch.float64)
    theta = q.initial_theta(w)
    for lr in (0.1, 0.1, 0.05, 0.05):
        theta = theta - lr * q.train_grad(theta, w)
    assert_allclose(ds["theta"][-1], theta, rtol=1e-9)
