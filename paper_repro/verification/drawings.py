"""Which figures show which statement."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import Any

from matplotlib.axes import Axes

from ... import figures
from ...analysis.rest_points import Portrait
from ...analysis.theorems import Certificate
from ..artefacts import save_drawing
from ..item import Drawing
from .folder import VerificationFolder

__all__ = ["PICTURES", "Picture", "draw"]


@dataclass(frozen=True)
class Picture:
    """One figure of a statement: how it is drawn, its caption, its size in inches."""

    draw: Callable[[Certificate, Axes], Any]
    caption: str
    size: tuple[float, float] = (4.4, 3.4)
    axes: Mapping[str, Any] = field(default_factory=dict)


def _portrait(certificate: Certificate, ax: Axes) -> Axes:
    return figures.simplex_portrait(Portrait(**certificate.details["data"]["portrait"]), ax)


def _regions(order: str, words: str) -> Picture:
    return Picture(
        partial(figures.stability_regions, order=order),
        f"Stability of a solved point (p = 1) over the two learning rates, updates {words}: "
        "spectral radius of the linearised step, limit of the theory, and outcome of runs.",
    )


PICTURES: Mapping[str, Mapping[str, Picture]] = {
    "T2": {
        "order": Picture(
            figures.euler_order, "Error of the algorithm at a fixed time against its step."
        )
    },
    "T3": {
        "recovery": Picture(
            figures.recovery_error,
            "Distance of the warm-started from the exact flow against the ratio of speeds. With a "
            "null-space part of theta(0) and no strong convexity it does not vanish.",
        )
    },
    "T3b": {
        "slow-manifold": Picture(
            figures.slow_manifold,
            "Lag of theta behind theta_star(w), before and after its leading term is removed.",
        )
    },
    "T5": {
        "support": Picture(
            figures.support_counts,
            "Samples that keep weight at frozen theta against the number of parameters; areas are "
            "proportional to the number of random problems.",
        )
    },
    "T5b": {
        "facet": Picture(
            figures.facet_hit,
            "Per-sample gradients at frozen theta, their convex hull, and the facet that the ray "
            "along grad F hits: its samples survive, with weights proportional to the marks.",
        ),
        "portrait": Picture(
            _portrait,
            "The frozen flow of three samples with ridge 1/2, grad F in the cone of the gradients: "
            "two rest points attract, so that the limit depends on the start.",
            (5.4, 3.6),
            {"projection": "ternary"},
        ),
    },
    "M1": {
        "supports": Picture(
            figures.supports_by_method,
            "Samples that fast weights keep at held theta, every run of every method; ticks are "
            "the bounds of its kind for each p, open marks are runs in which its field vanishes. "
            "LearningToReweight has no bound: its first step.",
            (6.4, 6.6),
        )
    },
    "T6": {
        "solved-and-trapped": Picture(
            figures.solved_and_trapped,
            "Rest points of the warm-started flow: the gradient of the validation loss there, and "
            "how many samples they keep beyond p.",
        )
    },
    "T7": {
        "spectra": Picture(
            figures.spectra_plane,
            "Eigenvalues at rest points of every kind, and those of the Jacobian by differences.",
            (5.4, 3.6),
        )
    },
    "T7b": {
        "hopf": Picture(
            figures.hopf_branches,
            "Eigenvalues of a solved point as beta/alpha grows: a pair crosses to the right.",
        )
    },
    "T7c": {
        "regions-simultaneous": _regions("simultaneous", "at the old state"),
        "regions-theta-first": _regions("theta_first", "theta first"),
        "regions-w-first": _regions("w_first", "w first"),
    },
}
"""By statement, then by the name of the file."""


def draw(
    certificate: Certificate, folder: VerificationFolder, provenance: Mapping[str, Any]
) -> None:
    """Write the figures of a statement beside its data; those of an earlier run are removed."""
    place = folder.place(certificate.name)
    for name, picture in PICTURES.get(certificate.name, {}).items():
        for earlier in place.glob(f"{name}.*"):
            earlier.unlink()
        if not certificate.details["data"]:
            continue
        figure = figures.style.new_figure(picture.size)
        if "projection" in picture.axes:
            import_module("mpltern")  # registers it
        with figures.style.context():
            picture.draw(certificate, figure.add_subplot(**picture.axes))
        drawing = Drawing(figure=figure, caption=picture.caption, tables={})
        save_drawing(place, name, drawing, provenance, quick=folder.variant == "quick")
