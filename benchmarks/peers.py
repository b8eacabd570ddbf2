"""Implementations of one sweep of least squares, each run in a process of its own.

``python peers.py NAME`` reads lines of JSON shapes and answers each with the seconds of one call.
All of them do simultaneous Euler steps in (theta, log w) in float64 and return theta and log w;
ours returns its Dataset with all statistics.
"""

import json
import sys
import time

import numpy as np


def make(shape: dict) -> dict:
    """Return data (half of the samples on theta = 1, half on -1) and rates of the cells."""
    n, p, m = shape["n"], shape["p"], shape["m"]
    rng = np.random.default_rng(0)
    X, X_val = rng.normal(size=(n, p)), rng.normal(size=(m, p))
    y = np.where(np.arange(n) < n // 2, 1.0, -1.0) * X.sum(axis=1) + 0.3 * rng.normal(size=n)
    y_val = X_val.sum(axis=1) + 0.3 * rng.normal(size=m)
    rows = int(shape["cells"] ** 0.5)
    while shape["cells"] % rows:
        rows -= 1
    alpha = np.geomspace(0.05, 1.0, rows) / (X * X).sum(axis=1).max()
    beta = np.geomspace(1e-4, shape["eta"], shape["cells"] // rows)
    rho, eta = (a.ravel() for a in np.meshgrid(alpha, beta, indexing="ij"))
    A, b = X_val.T @ X_val / m, X_val.T @ y_val / m
    H = X.T @ X / n + 1e-2 * np.eye(p)
    return {
        "X": X, "y": y, "X_val": X_val, "y_val": y_val, "A": A, "b": b,
        "alpha": alpha, "beta": beta, "rho": rho, "eta": eta,
        "theta": np.linalg.solve(H, X.T @ y / n), "lam": 1e-2, "steps": shape["steps"],
    }  # fmt: skip


def ours(q: dict, backend: str = "auto"):
    from warmflow.dynamics import LeastSquares, sweep

    problem = LeastSquares(q["X"], q["y"], q["X_val"], q["y_val"], ridge=q["lam"])
    rates = {"alpha": q["alpha"], "beta": q["beta"], "num_steps": q["steps"]}

    def run():
        out = sweep(problem, theta0=q["theta"], backend=backend, **rates)
        return out.theta.to_numpy().reshape(q["rho"].size, -1)

    return run


def _field(q: dict, xp, solve):
    """Return the Euler step; the moments are one product ``w @ XX``."""
    X, y = xp.asarray(q["X"]), xp.asarray(q["y"])
    n, p = X.shape
    XX = (X[:, :, None] * X[:, None, :]).reshape(n, p * p)
    A, b, eye = xp.asarray(q["A"]), xp.asarray(q["b"]), xp.asarray(np.eye(p) * q["lam"])

    def slopes(theta, log_w):
        w = xp.exp(log_w)
        r = theta @ X.T - y
        H = (w @ XX).reshape(-1, p, p) + eye
        v = solve(H, (theta @ A - b)[..., None])[..., 0]
        return (w * r) @ X + q["lam"] * theta, r * (v @ X.T)

    return slopes


def jax(q: dict):
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    slopes = _field(q, jnp, jnp.linalg.solve)
    rho, eta = jnp.asarray(q["rho"])[:, None], jnp.asarray(q["eta"])[:, None]

    def step(state, _):
        theta, log_w = state
        g, a = slopes(theta, log_w)
        log_w = log_w + eta * a
        log_w = log_w - jax.scipy.special.logsumexp(log_w, axis=1, keepdims=True)
        return (theta - rho * g, log_w), None

    @jax.jit
    def sweep(theta):
        start = (
            jnp.tile(theta, (rho.size, 1)),
            jnp.full((rho.size, len(q["X"])), -np.log(len(q["X"]))),
        )
        return jax.lax.scan(step, start, None, length=q["steps"])[0]

    return lambda: np.asarray(jax.block_until_ready(sweep(jnp.asarray(q["theta"])))[0])


def diffrax(q: dict):
    import diffrax
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    X, y, lam, p = jnp.asarray(q["X"]), jnp.asarray(q["y"]), q["lam"], q["X"].shape[1]

    def field(t, state, rates):
        theta, log_w = state
        w, r = jax.nn.softmax(log_w), X @ theta - y
        H = X.T @ (w[:, None] * X) + lam * jnp.eye(p)
        v = jnp.linalg.solve(H, jnp.asarray(q["A"]) @ theta - jnp.asarray(q["b"]))
        return -rates[0] * (X.T @ (w * r) + lam * theta), rates[1] * r * (X @ v)

    def cell(rates):
        start = jnp.asarray(q["theta"]), jnp.zeros(len(y))
        return diffrax.diffeqsolve(
            diffrax.ODETerm(field), diffrax.Euler(), 0.0, float(q["steps"]), 1.0, start, rates,
            max_steps=q["steps"] + 1,
        ).ys[0][0]  # fmt: skip

    rates = jnp.stack([jnp.asarray(q["rho"]), jnp.asarray(q["eta"])], axis=1)
    sweep = jax.jit(jax.vmap(cell))
    return lambda: np.asarray(sweep(rates))


def torch(q: dict):
    import torch

    slopes = _field(q, torch, torch.linalg.solve)
    rho, eta = torch.asarray(q["rho"])[:, None], torch.asarray(q["eta"])[:, None]

    def run():
        theta = torch.asarray(q["theta"]).repeat(len(rho), 1)
        log_w = torch.full((len(rho), len(q["X"])), -np.log(len(q["X"])), dtype=torch.float64)
        for _ in range(q["steps"]):
            g, a = slopes(theta, log_w)
            theta, log_w = theta - rho * g, torch.log_softmax(log_w + eta * a, dim=1)
        return theta.numpy()

    return run


def scipy(q: dict):
    """One adaptive ``solve_ivp`` per cell at rtol 1e-6: another method, for orientation."""
    from scipy.integrate import solve_ivp

    slopes, p, n = _field(q, np, np.linalg.solve), q["X"].shape[1], len(q["X"])

    def run():
        out = []
        for rho, eta in zip(q["rho"], q["eta"], strict=True):

            def field(t, z, rho=rho, eta=eta):
                log_w = z[p:] - z[p:].max()
                log_w = log_w - np.log(np.exp(log_w).sum())
                g, a = slopes(z[None, :p], log_w[None])
                return np.concatenate([-rho * g[0], eta * a[0]])

            start = np.concatenate([q["theta"], np.zeros(n)])
            out.append(solve_ivp(field, (0, q["steps"]), start, rtol=1e-6).y[:p, -1])
        return np.array(out)

    return run


IMPLEMENTATIONS = {
    "ours": ours,
    "numpy": lambda q: ours(q, "numpy"),
    "jax": jax,
    "diffrax": diffrax,
    "torch": torch,
    "scipy": scipy,
}


def serve(name: str) -> None:
    """Answer every shape with seconds and a checksum; what is compiled is kept between rounds."""
    ready: dict[str, object] = {}
    for line in sys.stdin:
        if line not in ready:
            ready[line] = IMPLEMENTATIONS[name](make(json.loads(line)))
            if name != "scipy":
                ready[line]()
        began = time.perf_counter()
        theta = ready[line]()
        answer = {"seconds": time.perf_counter() - began, "theta": float(np.abs(theta).sum())}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve(sys.argv[1])
