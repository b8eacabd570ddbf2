"""Runs that are interrupted, and the law that they meet: bit for bit as if nothing had happened."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from warmflow.dynamics import Problem, Trajectory, methods, run_method

from .cases import least_squares
from .methods.table import has_knob, with_knobs

__all__ = [
    "NUM_STEPS",
    "Killed",
    "assert_same",
    "bombed",
    "cells_of",
    "killed_at",
    "resumed",
    "run",
    "tapped",
]

NUM_STEPS = 12


class Killed(RuntimeError):
    """The end of a process."""


def killed_at(step: int, num_steps: int = NUM_STEPS) -> Callable[[float], None]:
    """Return a progress callback that raises after some steps."""

    def tell(done: float) -> None:
        if done >= step / num_steps - 1e-12:
            raise Killed

    return tell


def tapped(problem: Problem, hear: Callable[[], None]) -> Problem:
    """Return the same problem, which tells of every call of ``train_grad`` or ``val_grad``."""
    heard: Any = copy.copy(problem)

    def wrap(call):
        def wrapped(*args):
            hear()
            return call(*args)

        return wrapped

    for name in ("train_grad", "val_grad"):
        setattr(heard, name, wrap(getattr(problem, name)))
    return heard


def bombed(problem: Problem, calls: int) -> Problem:
    """Return the same problem, in which one call of ``train_grad`` or ``val_grad`` raises."""
    left = calls

    def hear() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise KeyboardInterrupt

    return tapped(problem, hear)


def assert_same(a: Trajectory, b: Trajectory) -> None:
    """Two runs are equal bit for bit in all that they tell."""
    for name in ("t", "theta", "log_w", "tail", "status", "last_step"):
        one, two = (np.asarray(getattr(run, name)) for run in (a, b))
        assert one.dtype == two.dtype, name
        np.testing.assert_array_equal(one, two, err_msg=name, strict=True)
    assert type(a.status) is type(b.status)
    assert a.message == b.message
    assert a.oracle_counts == b.oracle_counts
    assert a.num_evaluations == b.num_evaluations
    assert a.settings.keys() == b.settings.keys()


def run(problem: Problem, method: methods.Method, **options: Any) -> Trajectory:
    """Return a run of few steps that keeps some."""
    options = {"num_steps": NUM_STEPS, "save_steps": [0, 2, 3, 7, 12], "seed": 3, **options}
    return run_method(problem, method, **options)


def resumed(
    problem: Problem, method: methods.Method, step: int, path: Path, **options: Any
) -> Trajectory:
    """Return a run that is interrupted after some steps and then goes on."""
    path.unlink(missing_ok=True)
    tell = killed_at(step, options.get("num_steps", NUM_STEPS))
    with pytest.raises(Killed):
        run(problem, method, checkpoint=path, progress=tell, **options)
    return run(problem, method, checkpoint=path, resume=True, **options)


def cells_of(method: methods.Method) -> tuple[methods.Method, np.ndarray]:
    """Return a method over 2 x 4 cells, of which those with a large inner step soon break."""
    theta0 = np.random.default_rng(1).normal(size=(2, 1, 3))
    if not has_knob(method, "rho"):
        return with_knobs(method, eta=np.array([0.1, 0.2, 0.3, 0.4])), theta0
    unit = 1.0 / least_squares().constants()[1]
    return with_knobs(method, rho=unit * np.array([0.02, 1e2, 1e4, 1e13])), theta0
