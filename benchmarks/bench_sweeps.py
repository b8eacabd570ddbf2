"""Sweeps beside their peers, in one interleaved run: ratios and the distance to the bound.

``python benchmarks/bench_sweeps.py [--quick] [--rounds R] [--only NAME ...]`` writes
``results/sweeps.json`` and ``results/sweeps.png``; ``make bench`` runs the quick table.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import machine
import numpy as np

from warmflow.dynamics import provenance

HERE = Path(__file__).parent
RESULTS = HERE / "results"


def shape(
    n: int, p: int, m: int, cells: int, steps: int, peers: str = "jax numpy", eta: float = 4e-3
) -> dict:
    """Return a shape; ``eta`` is the largest outer step."""
    sizes = {"n": n, "p": p, "m": m, "cells": cells, "steps": steps, "eta": eta}
    return {**sizes, "peers": peers.split()}


NAMED = {
    "W1": shape(200, 2, 100, 64 * 64, 2000),
    "W2": shape(1000, 10, 200, 32 * 32, 500),
    "W3": shape(100_000, 5, 200, 64, 50),
    "W4": shape(500, 100, 200, 64, 200),
}
SMALL = {
    "toy": shape(100, 2, 50, 64, 200, "jax numpy diffrax torch"),
    "adaptive": shape(100, 2, 50, 4, 200, "scipy"),
}
FAST = {
    "W1 fast": shape(200, 2, 100, 64 * 64, 2000, "jax", eta=10.0),
    "W2 fast": shape(1000, 10, 200, 32 * 32, 500, "jax", eta=10.0),
    "W3 fast": shape(100_000, 5, 200, 64, 50, "jax", eta=10.0),
    "W4 fast": shape(500, 100, 200, 64, 200, "jax", eta=10.0),
}
"""The same with weights that collapse and jump: other code runs, and ends are sensitive."""
AXES = {
    **{f"p={p}": shape(500, p, 200, 256, 100) for p in (1, 2, 3, 5, 8, 13, 20, 30, 40)},
    **{f"n={n}": shape(n, 5, 200, 64, max(5, 500_000 // n)) for n in (30, 300, 3000, 30_000)},
    "n=1000000": shape(1_000_000, 5, 200, 16, 5),
    **{f"B={B}": shape(200, 5, 100, B, 200) for B in (1, 10, 100, 1000)},
    "B=100000": shape(200, 5, 100, 100_000, 5),
}
QUICK = {**SMALL, "p=40": shape(500, 40, 200, 64, 50), "p=5": shape(500, 5, 200, 256, 50)}
GOALS = {"W1": (6.0, 1.6), "W2": (2.1, 2.0), "W3": (8.0, 2.6), "W4": (1.9, 2.3)}
"""Times as fast as JAX, and times the bound."""


class Server:
    """One implementation in a process of its own."""

    def __init__(self, name: str) -> None:
        drop = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
        env = {key: value for key, value in os.environ.items() if key not in drop}
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "peers.py"), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=env,
        )

    def time(self, work: dict) -> dict:
        self.process.stdin.write(json.dumps(work) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def stop(self) -> None:
        self.process.stdin.close()
        self.process.wait(timeout=60)


def measure(name: str, work: dict, rounds: int) -> dict:
    """Return the seconds of each implementation; the rounds are interleaved."""
    servers = {peer: Server(peer) for peer in ("ours", *work["peers"])}
    seconds: dict[str, list[float]] = {peer: [] for peer in servers}
    sums: dict[str, float] = {}
    bounds = []
    try:
        for _ in range(rounds):
            bounds.append(machine.bound_seconds(work, machine.measure()))
            for peer, server in servers.items():
                answer = server.time(work)
                seconds[peer].append(answer["seconds"])
                sums[peer] = answer["theta"]
    finally:
        for server in servers.values():
            server.stop()
    best = {peer: min(values) for peer, values in seconds.items()}
    return {
        "shape": work,
        "seconds": best,
        "all_seconds": seconds,
        "ratios": {peer: best[peer] / best["ours"] for peer in work["peers"]},
        "bound": min(bounds),
        "times_bound": best["ours"] / min(bounds),
        "goal": GOALS.get(name),
        "sum_abs_theta": sums,
    }


def run(table: dict, rounds: int) -> dict:
    """Measure all shapes, say how it goes, and check that the implementations agree."""
    rows = {}
    for name, work in table.items():
        rows[name] = row = measure(name, work, rounds)
        ratios = "  ".join(f"{peer} {ratio:.2f}x" for peer, ratio in row["ratios"].items())
        sys.stdout.write(
            f"{name:10s} {row['seconds']['ours']:8.3f} s  {row['times_bound']:6.2f} x bound  "
            f"slower than ours: {ratios}\n"
        )
        sys.stdout.flush()
        exact = set(row["sum_abs_theta"]) - {"scipy"}  # an adaptive method
        for peer in exact if work["eta"] < 0.1 else ():
            np.testing.assert_allclose(
                row["sum_abs_theta"][peer], row["sum_abs_theta"]["ours"], rtol=1e-6, err_msg=name
            )
    jax = [row["ratios"]["jax"] for row in rows.values() if "jax" in row["ratios"]]
    config = {"rounds": rounds, "shapes": {name: row["shape"] for name, row in rows.items()}}
    summary = {
        "rows": rows,
        "geometric_mean_over_jax": float(np.exp(np.mean(np.log(jax)))),
        "machine": machine.measure(),
        "provenance": provenance.record(config),
    }
    return summary


LINES = {
    "ours": ("warmflow", "o-", "#0072B2"),
    "jax": ("JAX", "s--", "#D55E00"),
    "numpy": ("NumPy engine", "^-.", "#009E73"),
}
"""Labels, styles and colours (Okabe and Ito) of the implementations in the figure."""


def draw(rows: dict, path: Path) -> None:
    """Draw time per cell and step against n, p and B, with the bound of the machine."""
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 3, figsize=(9, 3.2), layout="constrained")
    labels = {
        "n": "samples n (p = 5)",
        "p": "parameters p (n = 500, B = 256)",
        "B": "cells B (n = 200, p = 5)",
    }
    for ax, letter in zip(panels, "npB", strict=True):
        chosen = {k: row for k, row in rows.items() if k.startswith(letter + "=")}
        x = [int(name.split("=")[1]) for name in chosen]
        units = [1e6 / row["shape"]["cells"] / row["shape"]["steps"] for row in chosen.values()]
        for peer, (label, style, colour) in LINES.items():
            seconds = [row["seconds"][peer] for row in chosen.values()]
            y = [unit * second for unit, second in zip(units, seconds, strict=True)]
            ax.loglog(x, y, style, color=colour, label=label, markersize=4)
        bound = [unit * row["bound"] for unit, row in zip(units, chosen.values(), strict=True)]
        ax.loglog(x, bound, ":", color="0.4", label="bound (direct methods)")
        ax.set_xlabel(labels[letter])
        ax.grid(visible=True, which="major", color="0.9")
    panels[0].set_ylabel("time per cell and step (µs)")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def test_quick() -> None:
    """The small table: everybody agrees, and nobody is faster than half of our speed."""
    summary = run(QUICK, rounds=2)
    ratios = [row["ratios"].get("jax", 1.0) for row in summary["rows"].values()]
    assert min(ratios) > 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=None)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--redraw", action="store_true", help="only draw what lies in --out")
    choice = parser.parse_args()
    if choice.redraw:
        stored = json.loads((choice.out / "sweeps.json").read_text(encoding="utf-8"))
        draw(stored["rows"], choice.out / "sweeps.png")
        return
    table = QUICK if choice.quick else {**NAMED, **FAST, **SMALL, **AXES}
    if choice.only is not None:
        table = {name: work for name, work in table.items() if name in choice.only}
    summary = run(table, choice.rounds)
    choice.out.mkdir(parents=True, exist_ok=True)
    (choice.out / "sweeps.json").write_text(json.dumps(summary, indent=1) + "\n")
    if set(AXES) <= set(table):
        draw(summary["rows"], choice.out / "sweeps.png")


if __name__ == "__main__":
    main()
