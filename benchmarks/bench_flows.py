"""The flows: reduced against full coordinates in one interleaved run, and two stated goals.

Goals: the two-cluster toy (n=200, p=2) at beta/alpha = 1000, T = 2000, rtol 1e-8 in under 60 s;
n = 100 000, p = 5, beta/alpha = 1, T = 50 in under 20 s and under 500 MB.
"""

import resource
import subprocess
import sys
import time

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from warmflow.dynamics import LeastSquares, Status, integrate


def two_clusters(n: int, p: int, m: int = 100, noise: float = 0.3, seed: int = 0) -> LeastSquares:
    """Return half of the samples on theta = 1, half on theta = -1, validation on the first."""
    rng = np.random.default_rng(seed)
    X, X_val = rng.normal(size=(n, p)), rng.normal(size=(m, p))
    sign = np.where(np.arange(n) < n // 2, 1.0, -1.0)
    y = sign * X.sum(axis=1) + noise * rng.normal(size=n)
    return LeastSquares(X, y, X_val, X_val.sum(axis=1) + noise * rng.normal(size=m), ridge=1e-2)


@pytest.mark.parametrize("ratio", [100.0, 1000.0])
def test_stiff_toy(benchmark, ratio: float) -> None:
    problem = two_clusters(200, 2)
    run = benchmark.pedantic(
        integrate, (problem,), {"beta": ratio, "t_span": (0.0, 2000.0)}, rounds=1
    )
    benchmark.extra_info.update(evaluations=run.num_evaluations)
    assert run.status is Status.ok
    if ratio == 1000.0:
        assert run.wall_seconds < 60.0


def test_many_samples(benchmark) -> None:
    """In a process of its own, so that its peak memory is its own."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from bench_flows import large_run\n"
        "large_run()"
    )
    folder = str(__import__("pathlib").Path(__file__).parent)
    out = benchmark.pedantic(
        subprocess.run,
        ([sys.executable, "-c", code, folder],),
        {"capture_output": True, "text": True, "check": True},
        rounds=1,
    )
    seconds, megabytes = map(float, out.stdout.split())
    benchmark.extra_info.update(integrate_seconds=seconds, peak_megabytes=megabytes)
    assert seconds < 20.0
    assert megabytes < 500.0


def large_run() -> None:
    """Print seconds and peak memory in MB of the large run."""
    run = integrate(two_clusters(100_000, 5), t_span=(0.0, 50.0))
    assert run.status is Status.ok
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sys.stdout.write(f"{run.wall_seconds} {peak}")


def plain_solve_ivp(problem: LeastSquares, beta: float, t_end: float) -> float:
    """Integrate (theta, log w) as most people would: LSODA, no Jacobian; return the seconds."""
    p = problem.num_params

    def field(t: float, z: np.ndarray) -> np.ndarray:
        theta, w = z[:p], np.exp(z[p:] - z[p:].max())
        w = w / w.sum()
        r = problem.X @ theta - problem.y
        H = problem.X.T @ (w[:, None] * problem.X) + problem.ridge * np.eye(p)
        a = r * (problem.X @ np.linalg.solve(H, problem.val_grad(theta)))
        gradient = problem.X.T @ (w * r) + problem.ridge * theta
        return np.concatenate([-gradient, beta * (a - w @ a)])

    n = problem.num_samples
    start = np.concatenate([problem.initial_theta(np.full(n, 1 / n)), np.full(n, -np.log(n))])
    began = time.perf_counter()
    out = solve_ivp(field, (0.0, t_end), start, "LSODA", rtol=1e-8, atol=1e-10)
    assert out.success
    return time.perf_counter() - began


@pytest.mark.parametrize("ratio, t_end", [(1.0, 50.0), (30.0, 20.0)])
def test_against_plain_solve_ivp(benchmark, ratio: float, t_end: float) -> None:
    """Ratio of the seconds, both sides once per round; same solution first."""
    problem = two_clusters(200, 2)
    ratios = []

    def both() -> None:
        ours = integrate(problem, beta=ratio, t_span=(0.0, t_end)).wall_seconds
        ratios.append(plain_solve_ivp(problem, ratio, t_end) / ours)

    benchmark.pedantic(both, rounds=5, warmup_rounds=1)
    benchmark.extra_info.update(speed_up=float(np.median(ratios[1:])))
