"""`Data`: one data set, ready to become a problem."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ...dynamics import LeastSquares, SoftmaxRegression

__all__ = ["Data", "Kind"]

Kind = Literal["least-squares", "softmax"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Data:
    """A training sample, a validation sample of the target law, and what else is known.

    Parameters
    ----------
    name : str
        Used in titles, labels and file names.
    kind : {"least-squares", "softmax"}
        Which problem `problem` makes.
    X, y : (n, p), (n,)
        Training samples; y holds targets, or labels 0 ... num_classes-1.
    X_val, y_val : (m, p), (m,)
        Validation samples, from the law that the weights should aim at.
    X_test, y_test : (k, p), (k,), optional
        Independent test samples of the same law as the validation samples.
    clean : (n,) of bool, optional
        True where a training sample belongs to the target law (right label, right cluster).
    num_classes : int, optional
        Needed for softmax.
    facts : mapping
        How the data came to be (sizes, seed, laws), in JSON types: goes into provenance.
    """

    name: str
    kind: Kind
    X: NDArray[np.float64]
    y: NDArray[Any]
    X_val: NDArray[np.float64]
    y_val: NDArray[Any]
    X_test: NDArray[np.float64] | None = None
    y_test: NDArray[Any] | None = None
    clean: NDArray[np.bool_] | None = None
    num_classes: int | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def num_samples(self) -> int:
        """Number n of training samples."""
        return int(self.X.shape[0])

    @property
    def test(self) -> tuple[NDArray[np.float64], NDArray[Any]] | None:
        """The pair ``(X_test, y_test)``, or None."""
        if self.X_test is None or self.y_test is None:
            return None
        return self.X_test, self.y_test

    def problem(self, ridge: float = 1e-3) -> LeastSquares | SoftmaxRegression:
        """Make the bilevel problem of these data with ridge penalty `ridge`."""
        from ...dynamics import LeastSquares, SoftmaxRegression

        if self.kind == "softmax":
            return SoftmaxRegression(
                self.X, self.y, self.X_val, self.y_val, ridge=ridge,
                num_classes=self.num_classes, test=self.test, clean=self.clean,
            )  # fmt: skip
        return LeastSquares(
            self.X, self.y, self.X_val, self.y_val, ridge=ridge, test=self.test, clean=self.clean
        )

    def fingerprint(self) -> str:
        """SHA-256 of kind, shapes, types and values of all arrays: the data part of store keys."""
        digest = hashlib.sha256(f"{self.kind};{self.num_classes}".encode())
        for name in ("X", "y", "X_val", "y_val", "X_test", "y_test", "clean"):
            array = getattr(self, name)
            if array is None:
                digest.update(f";{name}:none".encode())
                continue
            digest.update(f";{name}:{array.dtype.str}:{array.shape}:".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()
