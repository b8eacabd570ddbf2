"""What it means: distances to a solution, regimes, and a diagnosis of learnt weights."""

from __future__ import annotations

from ..dynamics.simplex import entropy, ess, support
from .diagnosis import Report, diagnose
from .gradient_rank import GradientRank, gradient_rank
from .optimality import clean_mass, cosine_to_exact, kkt_residual, theta_error
from .outer_curvature import outer_curvature
from .regime import rate_ratio, smallest_curvature
from .report import run_report

__all__ = [
    "GradientRank",
    "Report",
    "clean_mass",
    "cosine_to_exact",
    "diagnose",
    "entropy",
    "ess",
    "gradient_rank",
    "kkt_residual",
    "outer_curvature",
    "rate_ratio",
    "run_report",
    "smallest_curvature",
    "support",
    "theta_error",
]
