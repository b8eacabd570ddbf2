"""Draw principle.png, the picture of README: ``python docs/images/principle.py``."""

from pathlib import Path

from warmflow import figures
from warmflow.analysis import ess
from warmflow.dynamics import integrate, integrate_exact
from warmflow.paper_repro.items import toy

part = toy.parts("quick")[0]
data = toy.data(part)
problem = data.problem(1e-3)
runs = {
    "exact flow": integrate_exact(problem, t_span=(0.0, 200.0)),
    r"fast weights ($\beta/\alpha$ = 1000)": integrate(problem, beta=1000.0, t_span=(0.0, 50.0)),
}
with figures.style.context():
    figure = figures.style.new_figure((7.0, 2.5))
    axes = figure.subplots(1, 2, sharex=True, sharey=True)
    figures.principle(problem.X, data.clean, runs, axes)
    for ax, run in zip(axes, runs.values(), strict=True):
        text = f"ESS {ess(run.w[-1]):.1f} of {problem.num_samples}"
        ax.text(0.03, 0.97, text, transform=ax.transAxes, va="top")
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=150)
