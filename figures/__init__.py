"""What it looks like: results in, Matplotlib axes out. No computing, no files."""

from . import style
from .bands import rate_bands
from .clusters import principle, weighted_samples
from .comparison import seed_dots
from .dichotomy import solved_and_trapped
from .inner_steps import best_steps, error_against_steps
from .maps import phase_diagram
from .method_supports import supports_by_method
from .methods import budget_frontier, risk_against_ess, sparsity_against_ratio, variants_legend
from .mitigations import beside_plain
from .portrait import simplex_portrait
from .rates import rates_curve
from .recovery import recovery_error, slow_manifold
from .refinement import refined_map
from .sparsity import facet_hit, support_counts
from .spectra import weight_spectrum
from .stability import euler_order, hopf_branches, spectra_plane, stability_regions
from .tradeoff import tradeoff
from .trajectories import observable_over_time, weights_over_time
from .widths import counts_by

__all__ = [
    "beside_plain", "best_steps", "budget_frontier", "counts_by", "error_against_steps",
    "euler_order", "facet_hit", "hopf_branches", "observable_over_time", "phase_diagram",
    "principle", "rate_bands", "rates_curve", "recovery_error", "refined_map", "risk_against_ess",
    "seed_dots", "simplex_portrait", "slow_manifold", "solved_and_trapped",
    "sparsity_against_ratio", "spectra_plane", "stability_regions", "style", "support_counts",
    "supports_by_method", "tradeoff", "variants_legend", "weight_spectrum", "weighted_samples",
    "weights_over_time",
]  # fmt: skip
