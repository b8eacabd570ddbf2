"""Stability of rest points: spectra, oscillations and learning rates (theory T7, T7b, T7c).

``joint_jacobian`` and ``transversal_rates`` speak of any rest point; at solved points the spectrum
is that of a damped oscillator (``oscillator_spectrum``, ``hopf_ratios``), and the algorithm has a
band of learning rates (``kappa``, ``learning_rate_limits``, ``outer_limit``, ``spectral_radius``).
"""

from __future__ import annotations

from .jacobian import joint_jacobian, simplex_tangent, transversal_rates
from .learning_rates import kappa, learning_rate_limits, spectral_radius, update_matrix
from .oscillator import hopf_ratios, oscillator_matrix, oscillator_spectrum
from .outer_limit import outer_limit

__all__ = [
    "hopf_ratios",
    "joint_jacobian",
    "kappa",
    "learning_rate_limits",
    "oscillator_matrix",
    "oscillator_spectrum",
    "outer_limit",
    "simplex_tangent",
    "spectral_radius",
    "transversal_rates",
    "update_matrix",
]
