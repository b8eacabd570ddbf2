r"""The two-cluster toy: two laws of regression data, of which only one is the target.

.. math::

    x = \pm\tfrac{1}{2} s\, e_1 + z, \quad z \sim N(0, I_p), \qquad
    y = \pm \theta_A \cdot x + \sigma\, \varepsilon,

with the plus signs for cluster A and the minus signs for cluster B, so that
:math:`\theta_B = -\theta_A`. Validation and test samples come from A alone. The paper names two
clusters in two dimensions; sizes, noise, share, separation and the length of
:math:`\theta_A` are assumed.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from ..streams import stream
from .dataset import Data

__all__ = ["Toy"]


@dataclass(frozen=True, kw_only=True)
class Toy:
    """Settings of the two-cluster toy; `make` draws it.

    Parameters
    ----------
    n, m, test_size : int
        Numbers of training, validation and test samples.
    p : int
        Dimension of x and theta.
    noise : float
        Standard deviation sigma of y given x.
    share : float
        Fraction of training samples from the target cluster A, strictly between 0 and 1.
    separation : float
        Distance s between the two cluster means of x.
    scale : float
        Euclidean length of theta_A. With sqrt(2) and no separation, the risk of theta = 0 on
        the target is 1 + noise**2/2.
    seed : int
        Root seed of all streams.
    """

    n: int = 200
    m: int = 100
    test_size: int = 1000
    p: int = 2
    noise: float = 0.3
    share: float = 0.5
    separation: float = 4.0
    scale: float = 2.0**0.5
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("n", 2), ("m", 1), ("test_size", 1), ("p", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"`{name}` must be at least {least}; got {getattr(self, name)}.")
        for name in ("noise", "separation", "scale"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value >= 0):
                raise ValueError(f"`{name}` must be finite and at least 0; got {value}.")
        if not 0 < self.share < 1:
            raise ValueError(f"`share` must lie strictly between 0 and 1; got {self.share}.")

    def make(self) -> Data:
        """Draw the data set."""
        # Round, but leave at least one sample to each cluster.
        num_target = min(max(round(self.share * self.n), 1), self.n - 1)
        clean = np.arange(self.n) < num_target
        theta = self.target_theta()
        X, y = self._draw("train", np.where(clean, 1.0, -1.0), theta)
        X_val, y_val = self._draw("val", np.ones(self.m), theta)
        X_test, y_test = self._draw("test", np.ones(self.test_size), theta)
        return Data(
            name="toy", kind="least-squares", X=X, y=y, X_val=X_val, y_val=y_val,
            X_test=X_test, y_test=y_test, clean=clean,
            facts={**asdict(self), "theta_target": theta.tolist()},
        )  # fmt: skip

    def target_theta(self) -> NDArray[np.float64]:
        """theta_A: a direction uniform on the sphere times `scale`, (p,)."""
        theta = stream(self.seed, "toy/theta").standard_normal(self.p)
        return self.scale * theta / np.linalg.norm(theta)

    def _draw(
        self, role: str, sign: NDArray[np.float64], theta: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        # sign: (size,), +1 for cluster A and -1 for cluster B.
        X = stream(self.seed, f"toy/{role}/x").standard_normal((sign.size, self.p))
        X[:, 0] += 0.5 * self.separation * sign
        noise = stream(self.seed, f"toy/{role}/noise").standard_normal(sign.size)
        return X, sign * (X @ theta) + self.noise * noise
