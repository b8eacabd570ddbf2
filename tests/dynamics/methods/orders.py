"""The orders of the two updates, written out."""

from collections.abc import Callable

import numpy as np

Update = Callable[[np.ndarray, np.ndarray], np.ndarray]


def both_updates(
    order: str, inner: Update, outer: Update, theta: np.ndarray, w: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the new theta and w; each update is a function of theta and w."""
    if order == "theta_first":
        theta = inner(theta, w)
        return theta, outer(theta, w)
    if order == "w_first":
        w = outer(theta, w)
        return inner(theta, w), w
    return inner(theta, w), outer(theta, w)
