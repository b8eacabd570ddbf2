"""Comparisons: equal budgets, laws of slow rates, references, stores that survive."""

import json
from concurrent.futures import Executor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_allclose, assert_array_equal

from warmflow.analysis import cosine_to_exact
from warmflow.analysis.comparison import (
    Entry,
    compare,
    eta_of_ratio,
    method_names,
    mitigation_names,
    standard_entries,
    summarise,
)
from warmflow.analysis.comparison.references import group_search, validation_solution
from warmflow.analysis.comparison.runs import spend
from warmflow.analysis.theorems import instances
from warmflow.dynamics import LeastSquares, Status, geometries, methods, run_method

from ..dynamics.cases import softmax, two_clusters


def toy(seed: int) -> LeastSquares:
    return two_clusters(n=24, m=12, seed=seed, ridge=0.1)


def small(names=("joint", "soba", "l2r"), seeds=(0, 1), **options) -> xr.Dataset:
    options = {"budget": 120, "ratios": [0.1, 10.0], "num_budgets": 4, **options}
    return compare(toy, standard_entries(names), seeds=seeds, **options)


def assert_same(a: xr.Dataset, b: xr.Dataset) -> None:
    for name in a.data_vars:
        if name != "seconds":
            assert_array_equal(a[name].values, b[name].values, err_msg=str(name))


# ---------------------------------------------------------------------- what is equal
@pytest.mark.slow
@pytest.mark.parametrize("make", [toy, lambda seed: softmax(seed=seed)], ids=["linear", "softmax"])
def test_every_method_spends_the_budget(make) -> None:
    entries, budget = standard_entries(), 100
    ds = compare(make, entries, budget=budget, ratios=[1.0], seeds=[0], num_budgets=1)
    assert set(ds.entry.values) == set(method_names())
    assert (ds["status"] == Status.ok).all()
    assert (ds["cost"] >= budget).all()
    for name, entry in entries.items():
        cost, steps = ds["cost"].sel(entry=name), ds["steps"].sel(entry=name)
        assert (cost - budget < 4 * cost / steps + 1).all(), (
            f"{entry} took more than a step too many"
        )


def test_cells_side_by_side_are_single_runs() -> None:
    """States and counts of a batch of outer steps, against runs alone by the public driver."""
    q, eta, marks = toy(0), np.array([0.01, 0.3, 1.0]), [30, 90]
    theta = q.initial_theta(np.full(24, 1 / 24))
    for method in (methods.Joint(), methods.F2SA(), methods.ConjugateGradient(), methods.Exact()):
        spent = spend(q, method, None, eta, marks, 0, theta)
        for k, rate in enumerate(eta):
            alone = run_method(q, type(method)(eta=float(rate)), 10**6, max_calls=90)
            assert int(spent.steps[k]) == alone.t[-1]
            assert_allclose(spent.w[k, -1], alone.w[-1], rtol=1e-9)
            assert spent.calls[k].sum() == sum(alone.oracle_counts.values())
            early = run_method(q, type(method)(eta=float(rate)), 10**6, max_calls=30)
            assert_allclose(spent.w[k, 1], early.w[-1], rtol=1e-9)


def test_averaged_weights_are_the_mean_of_all_states() -> None:
    q = toy(0)
    theta = q.initial_theta(np.full(24, 1 / 24))
    spent = spend(q, methods.SOBA(), None, np.array([0.2, 1.0]), [10, 100], 0, theta)
    for k, rate in enumerate((0.2, 1.0)):
        steps = int(spent.steps[k])
        run = run_method(q, methods.SOBA(eta=rate), steps, save_steps=range(steps + 1))
        assert_allclose(spent.mean_w[k], run.w.mean(axis=0), rtol=1e-9)
    ds = compare(toy, {"a": Entry(methods.SOBA())}, budget=100, ratios=[1.0], seeds=[0])
    eta = ds["eta"].item()
    run = run_method(q, methods.SOBA(eta=eta), 10**6, max_calls=100)
    run = run_method(q, methods.SOBA(eta=eta), int(run.t[-1]), num_saved=10**6)
    expected = q.test_loss(q.theta_star(run.w.mean(axis=0)))
    assert_allclose(ds["test_loss_averaged"].item(), expected, rtol=1e-9)


@pytest.mark.parametrize("make", [toy, lambda seed: softmax(seed=seed)], ids=["linear", "softmax"])
def test_what_is_reported_at_the_end_is_that_of_the_last_state(make) -> None:
    """Against a run by the public driver; far from rest, so that theta is not theta_star(w)."""
    q, method = make(0), methods.OneStep(rho=0.02)
    ds = compare(make, {"a": Entry(method)}, budget=80, ratios=[3.0, 30.0], seeds=[0]).squeeze()
    for k in range(2):
        here = ds.isel(ratio=k)
        steered = methods.OneStep(rho=0.02, eta=here["eta"].item())
        run = run_method(q, steered, 10**6, max_calls=80)
        theta, w = run.theta[-1], run.w[-1]
        star = q.theta_star(w)
        assert np.linalg.norm(star - theta) > 1e-3
        wanted = {
            "test_loss_star": q.test_loss(star), "outer_loss": q.outer_loss(w),
            "cosine_end": cosine_to_exact(q, theta, w, steered.direction(q, theta, w)),
        }  # fmt: skip
        assert_allclose(here["test_loss"][-1], q.test_loss(theta), rtol=1e-9)
        assert_allclose(here["ess"][-1], 1 / np.sum(w**2), rtol=1e-9)
        for name, value in wanted.items():
            assert_allclose(here[name].item(), value, rtol=1e-6, err_msg=name)
        start = q.theta_star(np.full(w.size, 1 / w.size))
        used = steered.direction(q, start, np.full(w.size, 1 / w.size))
        cosine = cosine_to_exact(q, start, np.full(w.size, 1 / w.size), used)
        assert_allclose(here["cosine_start"].item(), cosine, rtol=1e-6)
        assert here["cosine_min"] <= min(here["cosine_start"], here["cosine_end"])


def test_slow_weights_make_methods_agree() -> None:
    """At R = 0.01 all end where the exact method ends, after the same flow time."""
    q, ratio, time = two_clusters(n=24, m=12, ridge=1.0), 0.01, 2.0
    w = {}
    for name, entry in standard_entries(["joint", "soba", "exact", "cg", "f2sa"]).items():
        method = methods.F2SA(sigma=1e-3) if name == "f2sa" else entry.method
        eta = float(eta_of_ratio(q, method, ratio))
        run = run_method(q, type(method)(**vars(method) | {"eta": eta}), round(time / eta))
        w[name] = run.w[-1]
    moved = np.abs(w["exact"] - 1 / 24).sum()
    assert moved > 0.2
    for name, end in w.items():
        # the lag of theta is O(R); F2SA adds O(sigma)
        assert np.abs(end - w["exact"]).sum() < 0.02 * moved, name


def test_draws_do_not_depend_on_their_number() -> None:
    one, both = small(seeds=(1,)), small(seeds=(0, 1))
    assert_same(one, both.sel(seed=[1]))


def test_broken_runs_are_nan_from_there_on() -> None:
    entries = {"wild": Entry(methods.Joint(rho=3.0, eta=0.01), is_scaled=False)}
    ds = compare(toy, entries, budget=6000, ratios=[1.0], seeds=[0], num_budgets=6).squeeze()
    assert ds["status"] == Status.diverged
    known = np.isfinite(ds["val_loss"].values)
    assert known[0]
    assert not known[-1]
    assert (np.diff(known.astype(int)) <= 0).all()
    assert np.isnan(ds["test_loss_star"])
    assert 0 < ds["cost"] < 6000
    assert np.isinf(summarise(ds.expand_dims(["entry", "ratio", "seed"]))["val_loss_worst"]).all()


# ---------------------------------------------------------------------- references
def test_references() -> None:
    ds = small(seeds=(0, 1, 2), budget=600).sel(seed=1)
    q, by = toy(1), lambda name, r: ds[f"reference_{name}"].sel(reference=r).item()
    u, clean = np.full(24, 1 / 24), q.clean / q.clean.sum()
    assert_allclose(by("test_loss", "uniform"), q.test_loss(q.theta_star(u)))
    assert_allclose(by("test_loss", "clean_only"), q.test_loss(q.theta_star(clean)))
    H = q.val_hessian + q.ridge * np.eye(2)
    theta = np.linalg.solve(H, q.val_target)
    assert_allclose(by("val_loss", "validation_only"), q.val_loss(theta))
    assert by("val_loss", "derivative_free") < 0.5 * by("val_loss", "uniform")
    assert by("clean_mass", "derivative_free") > 0.9
    assert 100 < by("calls", "derivative_free") <= 600 + 3


def test_search_over_groups_finds_the_best_weights_of_two_groups() -> None:
    """Against a fine grid over the one share that there is."""
    q = toy(0)
    theta, w, _ = group_search(q, 10_000, num_groups=2)
    losses = q.per_sample_losses(validation_solution(q))
    low = losses <= np.sort(losses)[11]
    shares = np.linspace(0, 1, 20_001)[:, None]
    grid = q.outer_loss(np.where(low, shares, 1 - shares) / 12)
    assert q.val_loss(theta) <= grid.min() + 1e-6
    assert_allclose(w.sum(), 1.0)
    assert len(np.unique(w.round(14))) == 2


def test_the_best_trial_of_the_search_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the budget ends at a worse one."""
    q, seen = toy(0), []
    solve = LeastSquares.theta_star

    def noted(self, w, guess=None):
        seen.append(float(q.val_loss(theta := solve(self, w, guess))))
        return theta

    monkeypatch.setattr(LeastSquares, "theta_star", noted)
    for budget in (20, 30, 40, 50):
        seen.clear()
        theta, w, _ = group_search(q, budget)
        assert q.val_loss(theta) == min(seen)
        assert_allclose(solve(q, w), theta)
    assert seen[-1] > min(seen)


# ---------------------------------------------------------------------- stores
class Dying(Executor):
    """An executor in this process that is interrupted after some units."""

    def __init__(self, units: int) -> None:
        self.left = units

    def submit(self, fn, /, *args, **kwargs):
        from concurrent.futures import Future

        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        future: Future = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def test_an_interrupted_comparison_goes_on_bit_for_bit(tmp_path: Path) -> None:
    whole = small()
    with pytest.raises(KeyboardInterrupt):
        small(store=tmp_path / "a", executor=Dying(3))
    done = {path: path.read_bytes() for path in (tmp_path / "a" / "units").rglob("seed-?.json")}
    assert len(done) == 3
    assert_same(small(store=tmp_path / "a", resume=True), whole)
    assert all(path.read_bytes() == text for path, text in done.items())  # not done again


def test_a_store_takes_more_entries_and_seeds(tmp_path: Path) -> None:
    small(("joint",), (0,), store=tmp_path / "a")
    more = small(store=tmp_path / "a", resume=True)
    assert_same(more, small())


def test_damage_is_repaired_and_foreign_stores_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "a"
    whole = small(store=root)
    with pytest.raises(ValueError, match="is not empty"):
        small(store=root)
    with pytest.raises(ValueError, match="another comparison"):
        small(store=root, resume=True, budget=121)
    entries = {"joint": Entry(methods.Joint(tol=1e-3))}
    with pytest.raises(ValueError, match="entry joint differs"):
        compare(toy, entries, seeds=[0], budget=120, ratios=[0.1, 10.0], num_budgets=4,
                store=root, resume=True)  # fmt: skip
    chunk = next(p for p in (root / "units" / "joint").rglob("*") if p.parent.name == "c")
    chunk = chunk if chunk.is_file() else next(p for p in chunk.rglob("*") if p.is_file())
    chunk.write_bytes(b"rubbish")
    assert_same(small(store=root, resume=True), whole)
    manifest = root / "comparison.json"
    document = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(document | {"format": 2}))
    with pytest.raises(ValueError, match="is damaged"):
        small(store=root, resume=True)


class Fails(methods.Joint):
    """A method that raises what no run expects."""

    def step(self, problem, geometry, state):
        raise RuntimeError("out of order")


def test_a_failed_unit_is_listed_and_harms_no_other() -> None:
    entries = standard_entries(["joint"]) | {"bad": Entry(Fails())}
    with pytest.warns(UserWarning, match="bad, seed 0: RuntimeError: out of order"):
        ds = compare(toy, entries, budget=60, ratios=[1.0], seeds=[0])
    assert ds["status"].sel(entry="bad").item() == -1
    assert np.isfinite(ds["val_loss"].sel(entry="joint")).all()


@pytest.mark.slow
def test_processes_do_the_same() -> None:
    """Other processes import what makes the problems: it comes from an installed package."""
    make = partial(instances.two_clusters, n=40)
    entries, options = standard_entries(["joint", "l2r"]), {"budget": 120, "ratios": [0.1, 10.0]}
    runs = [
        compare(make, entries, seeds=(0, 1), executor=executor, **options)
        for executor in ("processes", "serial")
    ]
    assert_same(*runs)


# ---------------------------------------------------------------------- names and summaries
def test_names() -> None:
    assert len(method_names()) == 21
    assert list(standard_entries(["L2R", "cg", "conjugate_gradient"])) == [
        "learning_to_reweight", "conjugate_gradient",
    ]  # fmt: skip
    assert mitigation_names()[:3] == ("none", "entropy", "l2")
    entries = standard_entries(["joint", "l2r"], ("none", "entropy"))
    assert list(entries) == ["joint", "learning_to_reweight", "joint+entropy"]
    assert entries["joint+entropy"].geometry == geometries.Penalised(entropy=0.1)


def test_the_best_ratio_is_chosen_on_validation_alone() -> None:
    ds = small(("joint",), seeds=(0, 1, 2))
    ds["val_loss"][:] = [[[[1.0]] * 3, [[2.0]] * 3]]
    ds["test_loss"][:] = [[[[5.0]] * 3, [[0.0]] * 3]]
    ds["test_loss"][0, 0, 2] = 9.0
    best = summarise(ds).sel(entry="joint")
    assert best["best_ratio"] == 0.1
    assert best["test_loss"] == 5.0
    assert best["test_loss_worst"] == 9.0


REFUSALS = {
    "names": (lambda: standard_entries(["newton"]), "`names` must be among"),
    "mitigations": (lambda: standard_entries(["joint"], ["luck"]), "`mitigations` must be among"),
    "no pair": (lambda: standard_entries(["l2r"], ["entropy"]), "goes with no method"),
    "unscaled": (lambda: Entry(methods.LearningToReweight()), "`is_scaled` must be False"),
    "ratios": (lambda: small(ratios=[1.0, 0.1]), "`ratios` must be positive and increase"),
    "seeds": (lambda: small(seeds=(1, 1)), "`seeds` must be distinct"),
    "budget": (lambda: small(budget=0), "`budget` must be"),
    "none": (lambda: small(names=()), "at least one Entry"),
    "file": (
        lambda: compare(toy, {"a/b": Entry(methods.SOBA())}, budget=9, ratios=[1.0], seeds=[0]),
        "`entries` must have names",
    ),
}


@pytest.mark.parametrize(("call", "match"), REFUSALS.values(), ids=REFUSALS.keys())
def test_refusals(call, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        call()
