r"""The two-cluster toy: two laws of regression data, of which only one is the target.

.. math::

    x = \pm\tfrac{1}{2} s\, e_1 + z, \quad z \sim N(0, I_p), \qquad
    y = \theta_{A, B} \cdot x + \sigma\, \varepsilon,

with the plus sign for cluster A and the minus sign for cluster B. The two parameters have the same
length and the angle ``angle`` between them; by default :math:`\theta_B = -\theta_A`. Validation
and test samples come from A alone. The paper names two clusters in two dimensions; sizes, noise,
share, separation, angle and the length of :math:`\theta_A` are assumed.
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
    angle : float
        Angle between theta_A and theta_B in degrees, 0 to 180; for p = 1 one of the two ends.
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
    angle: float = 180.0
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
        if not 0 <= self.angle <= 180:
            raise ValueError(f"`angle` must lie between 0 and 180; got {self.angle}.")
        if self.p == 1 and self.angle not in (0, 180):
            raise ValueError(f"`angle` must be 0 or 180 for p = 1; got {self.angle}.")

    def make(self) -> Data:
        """Draw the data set."""
        # Round, but leave at least one sample to each cluster.
        num_target = min(max(round(self.share * self.n), 1), self.n - 1)
        clean = np.arange(self.n) < num_target
        X, y = self._draw("train", clean)
        X_val, y_val = self._draw("val", np.ones(self.m, dtype=bool))
        X_test, y_test = self._draw("test", np.ones(self.test_size, dtype=bool))
        return Data(
            name="toy", kind="least-squares", X=X, y=y, X_val=X_val, y_val=y_val,
            X_test=X_test, y_test=y_test, clean=clean,
            facts={**asdict(self), "theta_target": self.target_theta().tolist()},
        )  # fmt: skip

    def target_theta(self) -> NDArray[np.float64]:
        """theta_A: a direction uniform on the sphere times `scale`, (p,)."""
        theta = stream(self.seed, "toy/theta").standard_normal(self.p)
        return self.scale * theta / np.linalg.norm(theta)

    def other_theta(self) -> NDArray[np.float64]:
        """theta_B: of the length of theta_A, turned by `angle` in a random direction, (p,)."""
        theta = self.target_theta()
        if self.angle == 180:  # minus theta_A to the last bit
            return -theta
        if self.angle == 0 or self.scale == 0:
            return theta
        side = stream(self.seed, "toy/other").standard_normal(self.p)
        side -= (side @ theta) / (theta @ theta) * theta
        side *= self.scale / np.linalg.norm(side)
        radians = np.deg2rad(self.angle)
        return np.cos(radians) * theta + np.sin(radians) * side

    def _draw(
        self, role: str, clean: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        X = stream(self.seed, f"toy/{role}/x").standard_normal((clean.size, self.p))
        X[:, 0] += 0.5 * self.separation * np.where(clean, 1.0, -1.0)
        noise = stream(self.seed, f"toy/{role}/noise").standard_normal(clean.size)
        mean = np.where(clean, X @ self.target_theta(), X @ self.other_theta())
        return X, mean + self.noise * noise
