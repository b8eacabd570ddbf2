"""Why did my weights collapse? A verdict with its evidence, and advice that names a knob."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..dynamics import ConvergenceError, Problem, Status, Trajectory, checks
from ..dynamics.simplex import entropy, ess, support
from ..dynamics.statistics import THRESHOLDS
from ..dynamics.types import Array
from .oscillation import oscillation
from .regime import rate_ratio

__all__ = ["VERDICTS", "Report", "diagnose"]

VERDICTS = ("healthy", "collapsed", "frozen", "diverged", "oscillating")

COLLAPSE = 0.05
"""Share of the samples below which the effective sample size counts as collapsed."""
SPARSE = 0.1
"""Share of the samples above 1e-3 of the largest weight below which the rest counts as dropped."""
FROZEN = 0.01
"""Relative spread of the weights, or total change along a run, below which nothing was learnt."""
POINTS = 60
"""Saved points of a trajectory that are looked at."""


@dataclass(frozen=True)
class Report:
    """What :func:`diagnose` found.

    Attributes
    ----------
    verdict : {"healthy", "collapsed", "frozen", "diverged", "oscillating"}
    evidence : dict
        The numbers behind it.
    advice : str
        What to change, by the name of the knob.
    """

    verdict: str
    evidence: dict[str, Any] = field(repr=False)
    advice: str

    def __str__(self) -> str:
        lines = [f"verdict: {self.verdict}"]
        lines += [f"  {name}: {_shown(value)}" for name, value in self.evidence.items()]
        return "\n".join([*lines, f"advice: {self.advice}"])


def diagnose(w_or_trajectory: Trajectory | Array) -> Report:
    """Say what happened to learnt weights, and what to change.

    Verdicts, the first that applies: ``diverged``, the run says so; ``frozen``, the weights are
    uniform; ``collapsed``, the effective sample size is at most 5 % of the samples (or 2; its
    median, for weights that move to and fro), or at most 10 % of the samples have more than 1e-3 of
    the largest weight; ``oscillating``, the weights move to and fro without having collapsed;
    ``frozen`` again, they never moved; ``healthy``.

    Parameters
    ----------
    w_or_trajectory : Trajectory, (n,) or (k, n)
        A run, the final weights, or a history of weights. Any finite non-negative weights with a
        positive sum; they are normalised first, and the evidence says whether that changed them.

    Raises
    ------
    ValueError, TypeError
        For an array that is no set of weights.
    """
    if isinstance(w_or_trajectory, Trajectory):
        return _diagnose_run(w_or_trajectory)
    w = checks.weights_like("w_or_trajectory", w_or_trajectory)
    if w.ndim > 2:
        raise ValueError(f"`w_or_trajectory` must have shape (n,) or (k, n); got {w.shape}.")
    scaled = w / w.max(axis=-1, keepdims=True)  # no overflow of the sum, whatever the scale
    history = np.atleast_2d(scaled / scaled.sum(axis=-1, keepdims=True))
    evidence = weight_evidence(history[-1])
    evidence["normalised"] = bool(np.abs(w - history.reshape(w.shape)).max() > 1e-9)
    if len(history) > 1:
        evidence.update(oscillation(history, None))
    verdict = _verdict(evidence)
    return Report(verdict, evidence, _ADVICE[verdict].format(weights_knob="the outer step `eta`"))


def weight_evidence(w: Array) -> dict[str, Any]:
    """Return the summary of one normalised weight vector ``(n,)``."""
    n = w.size
    ordered = np.sort(w)[::-1]
    return {
        "num_samples": n,
        "ess": float(ess(w)),
        "ess_fraction": float(ess(w)) / n,
        "entropy": float(entropy(w)),
        "largest_share": float(ordered[0]),
        "top10_share": float(ordered[:10].sum()),
        "support": {f"{q:g}": int(support(w, q).sum()) for q in THRESHOLDS},
        "relative_spread": float(w.std() * n),
    }


def _diagnose_run(run: Trajectory) -> Report:
    """Diagnose a trajectory: its end, its history, and its rates."""
    if run.theta.ndim != 2:
        raise ValueError(
            "`w_or_trajectory` must be a single run; got one with leading axes "
            f"{run.theta.shape[1:-1]}."
        )
    chosen = np.unique(np.linspace(0, len(run) - 1, POINTS).round().astype(int))
    w = np.exp(run.log_weights(chosen))
    totals = w.sum(axis=-1, keepdims=True)
    history = w / totals
    evidence = weight_evidence(history[-1])
    evidence["normalised"] = bool(np.abs(totals - 1.0).max() > 1e-9)
    tail = None if run.tail is None else np.exp(run.tail)
    evidence.update(oscillation(history, tail))
    evidence.update({"status": run.status.name, "message": run.message})
    problem = run.problem.to(xp=np)
    evidence["val_loss"] = [float(problem.val_loss(run.theta[k])) for k in (0, -1)]
    if problem.clean is not None:
        evidence["clean_mass"] = float(history[-1][problem.clean].sum())
    knobs = _knobs(run)
    evidence.update(_rates(run, problem, knobs))
    verdict = _verdict(evidence)
    return Report(verdict, evidence, _advice(verdict, evidence, knobs))


def _verdict(evidence: dict[str, Any]) -> str:
    """Return the first verdict that the evidence supports."""
    if evidence.get("status") in (Status.diverged.name, Status.nonfinite.name):
        return "diverged"
    if evidence["relative_spread"] < FROZEN and not evidence.get("oscillating", False):
        return "frozen"
    if _has_collapsed(evidence):
        return "collapsed"
    if evidence.get("oscillating", False):
        return "oscillating"
    return "frozen" if evidence.get("moved", 1.0) < FROZEN * 0.1 else "healthy"


def _has_collapsed(evidence: dict[str, Any]) -> bool:
    """Whether few samples hold all weight, by the effective size or by the support."""
    n = evidence["num_samples"]
    size = evidence["ess_median" if evidence.get("oscillating", False) else "ess"]
    return bool(size <= collapse_size(n) or evidence["support"]["0.001"] <= SPARSE * n)


def collapse_size(num_samples: int) -> float:
    """Return the effective sample size from which on weights count as collapsed."""
    return max(COLLAPSE * num_samples, min(2.0, 1.0 + 0.1 * (num_samples - 1)))


def _knobs(run: Trajectory) -> dict[str, Any]:
    """Return the names and values of the two speeds of a run, where it has them."""
    settings = run.settings
    if settings["kind"] == "method":
        knobs = settings["knobs"].get("method", settings["knobs"])  # those within a loop
        return {"slow": "rho", "fast": "eta", "alpha": knobs.get("rho"), "beta": knobs.get("eta")}
    return {
        "slow": "alpha",
        "fast": "beta",
        "alpha": settings.get("alpha"),
        "beta": settings.get("beta"),
    }


def _rates(run: Trajectory, problem: Problem, knobs: dict[str, Any]) -> dict[str, Any]:
    """Return the rates and the ratio R, where the run has two rates and the problem theta_star."""
    alpha, beta = knobs["alpha"], knobs["beta"]
    if knobs["slow"] == "rho" and alpha is None and "constants" in problem.capabilities:
        alpha = 1.0 / problem.constants()[1]
    if np.ndim(alpha) or np.ndim(beta):
        return {}
    out = {name: value for name, value in ((knobs["slow"], alpha), (knobs["fast"], beta)) if value}
    moves_theta = run.settings["kind"] == "warm-started flow" or (
        run.settings["kind"] == "method" and run.settings["method"] != "Exact"
    )
    if not problem.is_convex:  # at the start, which is warm by convention
        where: dict[str, Any] = {"theta": run.theta[0]}
    else:
        where = {}
    if moves_theta and len(out) == 2 and (where or "theta_star" in problem.capabilities):
        with contextlib.suppress(ConvergenceError, np.linalg.LinAlgError):
            out["R"] = rate_ratio(problem, alpha, beta, **where)
    return out


_ADVICE = {
    "healthy": "nothing to change; report the effective sample size beside the test risk.",
    "frozen": "raise {weights_knob} or run longer: the weights have hardly moved.",
    "collapsed": (
        "lower {weights_knob} (slow weights keep the effective sample size up), do more inner "
        "steps per outer step, or raise `ridge`; judge the model on an independent test set."
    ),
    "oscillating": "lower {weights_knob}: the weights keep moving to and fro instead of settling.",
    "diverged": "lower the inner step `rho` (below 2/L) and {weights_knob}.",
}


def _advice(verdict: str, evidence: dict[str, Any], knobs: dict[str, Any]) -> str:
    """Return what to change, with a value where R gives one."""
    fast, slow = knobs["fast"], knobs["slow"]
    ratio, value = evidence.get("R"), evidence.get(fast)
    text = _ADVICE[verdict].format(weights_knob=f"`{fast}`").replace("`rho`", f"`{slow}`")
    if (
        verdict in ("collapsed", "oscillating")
        and ratio is not None
        and np.isfinite(ratio)
        and value
    ):
        if ratio > 1.0:
            target = value / ratio
            text = (
                f"R = {ratio:.3g}: the weights outrun theta; {text} "
                f"R = 1 is at `{fast}` = {target:.3g}."
            )
        else:
            text = (
                f"R = {ratio:.3g}: theta follows the weights, so this is not a matter of speed; "
                "stop earlier, raise `ridge`, or take more validation samples. " + text
            )
    if verdict == "collapsed" and ratio is None and fast not in evidence:
        text = _ADVICE[verdict].format(weights_knob="the speed of the weights")
    return text


def _shown(value: Any) -> str:
    """Spell a number in few digits."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return " -> ".join(_shown(item) for item in value)
    if isinstance(value, dict):
        return ", ".join(f"{item} above {name}" for name, item in value.items())
    return str(value)
