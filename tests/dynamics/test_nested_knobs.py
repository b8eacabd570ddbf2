"""Knobs of geometries inside geometries and methods inside methods: axes, checkpoints, names."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from warmflow.dynamics import LeastSquares, methods, run_method, sweep
from warmflow.dynamics.geometries import Averaged, Mirror, Mixed, Parametric, Penalised
from warmflow.dynamics.nesting import nested, plain_knobs, with_knobs

from .cases import least_squares

RATES: dict[str, Any] = {"alpha": [0.02, 0.1], "beta": [0.05, 2.0], "num_steps": 15}


def make() -> LeastSquares:
    return least_squares(n=14)


@dataclass(frozen=True, kw_only=True)
class Outer(methods.Joint):
    """A method that holds another one."""

    order: str = field(default="simultaneous", init=False)
    method: methods.Method = methods.Neumann()  # noqa: RUF009 (frozen)
    num_rounds: int = 1


def test_axes_reach_every_layer_of_a_geometry() -> None:
    axes = {"share": [0.1, 0.5], "entropy": [0.0, 0.2], "memory": [0.0, 0.5]}
    geometry = Averaged(0.9, Mixed(0.3, Penalised(entropy=0.7)))
    ds = sweep(make(), axes=axes, geometry=geometry, keep_weights=True, **RATES)
    for share, entropy, memory in [(0.1, 0.0, 0.5), (0.5, 0.2, 0.5), (0.5, 0.2, 0.0)]:
        run = run_method(
            make(), methods.Joint(rho=0.1, eta=2.0), 15,
            geometry=Averaged(memory, Mixed(share, Penalised(entropy=entropy))),
        )  # fmt: skip
        cell = ds.sel(alpha=0.1, beta=2.0, share=share, entropy_penalty=entropy, memory=memory)
        np.testing.assert_allclose(cell["theta"], run.theta[-1], rtol=1e-11)
        np.testing.assert_allclose(cell["w"], run.w[-1], rtol=1e-10)


def test_a_knob_that_occurs_twice_is_refused_with_its_owners() -> None:
    twice = Mixed(0.1, Penalised(inner=Mixed(0.2)))
    with pytest.raises(ValueError, match=r"occurs once; got 'share', a knob of Mixed and Mixed"):
        sweep(make(), axes={"share": [0.1]}, geometry=twice, **RATES)
    with pytest.raises(
        ValueError, match=r"got 'momentum', a knob of WithMomentum and BOREP: run one"
    ):
        sweep(make(), axes={"momentum": [0.1]}, method=WithMomentum(), **RATES)
    both = sweep(
        make(), axes={"memory": [0.5]}, method=methods.Joint(), geometry=Averaged(0.1), **RATES
    )
    assert both.sizes["memory"] == 1
    with pytest.raises(ValueError, match=r"got 'memory', a knob of MetaWeightNet and Averaged"):
        sweep(
            make(), axes={"memory": [0.5]}, method=methods.MetaWeightNet(),
            geometry=Averaged(0.1), **RATES,
        )  # fmt: skip


def test_the_order_of_a_loop_is_an_axis_and_counts_for_the_method_within() -> None:
    inner = methods.SOBA(rho=0.1, eta=2.0, order="w_first")
    loop = methods.InnerLoop(method=inner, num_inner_steps=2)
    orders = ["theta_first", "simultaneous"]
    ds = sweep(make(), axes={"order": orders}, method=loop, **RATES)
    for order in orders:
        expected = run_method(make(), replace(loop, method=replace(inner, order=order)), 15)
        cell = ds.sel(alpha=0.1, beta=2.0, order=order)
        np.testing.assert_allclose(cell["theta"], expected.theta[-1], rtol=1e-11)
    changed = with_knobs(loop, {"order": "theta_first"})
    assert (changed.order, changed.method.order) == ("theta_first", "w_first")


def test_a_value_that_a_nested_knob_refuses_is_refused_at_the_door() -> None:
    with pytest.raises(ValueError, match=r"`share` must be < 1; got 1\.5"):
        sweep(make(), axes={"share": [0.1, 1.5]}, geometry=Averaged(0.1, Mixed(0.1)), **RATES)
    with pytest.raises(ValueError, match=r"a knob \(entropy, implicit, l2, order, share, tol\)"):
        sweep(make(), axes={"flour": [0.1]}, geometry=Mixed(0.1, Penalised()), **RATES)


def test_knobs_of_nested_methods_are_found_and_replaced() -> None:
    outer = Outer(method=methods.Neumann(num_terms=3))
    assert {"num_terms", "num_rounds"} <= plain_knobs(outer)
    assert [type(part).__name__ for part in nested(outer)] == ["Outer", "Neumann"]
    changed = with_knobs(outer, {"num_terms": 7, "num_rounds": 2})
    assert (changed.method.num_terms, changed.num_rounds) == (7, 2)
    assert changed.method.order == outer.method.order
    assert with_knobs(outer, {"share": 0.1}) is outer


def test_a_run_tells_which_method_was_in_the_loop() -> None:
    told = [
        run_method(make(), methods.InnerLoop(method=method), 1).settings["knobs"]["method"]
        for method in (methods.OneStep(), methods.SOBA())
    ]
    assert [knobs["kind"] for knobs in told] == ["OneStep", "SOBA"]
    assert told[0]["eta"] == methods.OneStep().eta


def test_a_nested_method_checks_the_geometry_too() -> None:
    with pytest.raises(ValueError, match=r"one of geometries\.ClippedNormalised for methods\.Lea"):
        run_method(make(), Outer(method=methods.LearningToReweight()), 1, geometry=Mirror())


def test_a_checkpoint_tells_nested_geometries_apart(tmp_path) -> None:
    A = np.random.default_rng(0).normal(size=(14, 2))
    geometry, method = Averaged(0.5, Mixed(0.1, Parametric(A))), methods.SOBA(batch_size=5)
    whole = run_method(make(), method, 40, geometry=geometry, save_steps=[0, 20, 40])
    path = tmp_path / "run.npz"

    def run(num_steps: int, geometry) -> Any:
        return run_method(
            make(), method, num_steps, geometry=geometry, checkpoint=path, resume=True,
            save_steps=[k for k in (0, 20, 40) if k <= num_steps],
        )  # fmt: skip

    run(20, geometry)
    for other in (
        Averaged(0.5, Mixed(0.2, Parametric(A))),
        Averaged(0.5, Mixed(0.1, Parametric(A + 1.0))),
        Averaged(0.5, Mixed(0.1)),
    ):
        with pytest.raises(ValueError, match=r"belongs to another run: its geometry was Averaged"):
            run(40, other)
    assert (run(40, geometry).w == whole.w).all()
    assert "Mixed(share=0.1, inner=Parametric(n=14" in whole.settings["geometry"]


@dataclass(frozen=True, kw_only=True)
class WithMomentum(Outer):
    """One more knob, whose name the nested method has too."""

    momentum: float = 0.5
    method: methods.Method = methods.BOREP()  # noqa: RUF009 (frozen)
