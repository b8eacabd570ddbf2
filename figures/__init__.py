"""What it looks like: results in, Matplotlib axes out. No computing, no files."""

from . import style
from .clusters import principle, weighted_samples
from .maps import phase_diagram
from .rates import rates_curve
from .spectra import weight_spectrum
from .trajectories import observable_over_time, weights_over_time

__all__ = [
    "observable_over_time", "phase_diagram", "principle", "rates_curve", "style",
    "weight_spectrum", "weighted_samples", "weights_over_time",
]  # fmt: skip
