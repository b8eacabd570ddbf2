"""Constructors refuse bad data at the door: the argument in backticks, the rule, the value."""

import numpy as np
import pytest

from warmflow.dynamics import LeastSquares, MultiProblem, SoftmaxRegression

from .cases import Refusals, least_squares, refusals, softmax

X, Y = np.ones((4, 2)), np.arange(4.0)
LABELS = np.array([0, 1, 0, 1])
Q, S = least_squares(), softmax()
NAN = np.array([[1.0, np.nan]] * 4)
OBJECT = np.array([[1, None]] * 4, dtype=object)

CONSTRUCTORS: Refusals = {
    "X 1-D": (
        lambda: LeastSquares(Y, Y, X, Y),
        ValueError,
        r"`X` must have shape \(\*, \*\); got \(4,\)",
    ),
    "X empty": (
        lambda: LeastSquares(np.ones((0, 2)), [], X, Y),
        ValueError,
        r"`X` must not be empty",
    ),
    "X nan": (
        lambda: LeastSquares(NAN, Y, X, Y),
        ValueError,
        r"`X` must be finite; got nan at index \(0, 1\)",
    ),
    "X inf": (lambda: LeastSquares(X / 0.0, Y, X, Y), ValueError, r"`X` must be finite; got inf"),
    "X text": (
        lambda: LeastSquares([["a", "b"]] * 4, Y, X, Y),
        TypeError,
        r"`X` must be a real numeric array",
    ),
    "X object": (lambda: LeastSquares(OBJECT, Y, X, Y), TypeError, r"`X` .*dtype object"),
    "X complex": (lambda: LeastSquares(X * 1j, Y, X, Y), TypeError, r"`X` .*complex128"),
    "X ragged": (
        lambda: LeastSquares([[1.0], [1.0, 2.0]], Y, X, Y),
        ValueError,
        r"`X` must be a rectangular",
    ),
    "X huge": (lambda: LeastSquares(X * 1e60, Y, X, Y), ValueError, r"`X` must be at most 1e\+50"),
    "y short": (
        lambda: LeastSquares(X, Y[:3], X, Y),
        ValueError,
        r"`y` must have shape \(4,\); got \(3,\)",
    ),
    "y column": (
        lambda: LeastSquares(X, Y[:, None], X, Y),
        ValueError,
        r"`y` must have shape \(4,\)",
    ),
    "X_val wide": (
        lambda: LeastSquares(X, Y, np.ones((4, 3)), Y),
        ValueError,
        r"`X_val` must have shape \(\*, 2\)",
    ),
    "y_val": (lambda: LeastSquares(X, Y, X, Y[:1]), ValueError, r"`y_val` must have shape \(4,\)"),
    "ridge": (
        lambda: LeastSquares(X, Y, X, Y, ridge=-1.0),
        ValueError,
        r"`ridge` must be >= 0; got -1\.0\.",
    ),
    "ridge nan": (
        lambda: LeastSquares(X, Y, X, Y, ridge=np.nan),
        ValueError,
        r"`ridge` must be finite",
    ),
    "ridge text": (
        lambda: LeastSquares(X, Y, X, Y, ridge="1"),
        TypeError,
        r"`ridge` must be a real number",
    ),
    "ridge bool": (lambda: LeastSquares(X, Y, X, Y, ridge=True), TypeError, r"`ridge` .*got True"),
    "test": (lambda: LeastSquares(X, Y, X, Y, test=X), TypeError, r"`test` must be a pair"),
    "test X": (
        lambda: LeastSquares(X, Y, X, Y, test=(Y, Y)),
        ValueError,
        r"`test\[0\]` must have shape",
    ),
    "test y": (
        lambda: LeastSquares(X, Y, X, Y, test=(X, Y[:2])),
        ValueError,
        r"`test\[1\]` must have",
    ),
    "clean": (
        lambda: LeastSquares(X, Y, X, Y, clean=[0, 1, 0, 1]),
        TypeError,
        r"`clean` must be a boolean",
    ),
    "clean short": (
        lambda: LeastSquares(X, Y, X, Y, clean=[True]),
        ValueError,
        r"`clean` must have shape \(4,\)",
    ),
    "labels float": (
        lambda: SoftmaxRegression(X, Y, X, LABELS),
        ValueError,
        r"`labels` must have an integer dtype",
    ),
    "labels negative": (
        lambda: SoftmaxRegression(X, LABELS - 1, X, LABELS),
        ValueError,
        r"`labels` must be >= 0; got -1",
    ),
    "labels_val": (
        lambda: SoftmaxRegression(X, LABELS, X, [0]),
        ValueError,
        r"`labels_val` must have shape",
    ),
    "classes few": (
        lambda: SoftmaxRegression(X, LABELS, X, LABELS, num_classes=1),
        ValueError,
        r"`num_classes` must be >= 2",
    ),
    "classes": (
        lambda: SoftmaxRegression(X, LABELS * 5, X, LABELS, num_classes=3),
        ValueError,
        r"`labels` must be below `num_classes` \(3\); got 5",
    ),
    "classes float": (
        lambda: SoftmaxRegression(X, LABELS, X, LABELS, num_classes=2.0),
        TypeError,
        r"`num_classes` must be an integer",
    ),
    "multi none": (lambda: MultiProblem([]), ValueError, r"`problems` must hold at least one"),
    "multi type": (lambda: MultiProblem([3]), TypeError, r"`problems` must hold problems; got int"),
    "multi n": (lambda: MultiProblem([Q, S]), ValueError, r"12 samples at 0 and 14 at 1"),
    "batch": (lambda: Q.batch(train=[]), ValueError, r"`train` must be a non-empty"),
    "batch range": (lambda: Q.batch(val=[7]), ValueError, r"`val` must lie in 0 \.\.\. 6; got 7"),
    "to dtype": (
        lambda: Q.to(dtype="int8"),
        ValueError,
        r"`dtype` must be one of 'float32', 'float64'; got 'int8'",
    ),
    "to xp": (lambda: Q.to(xp="numpy"), TypeError, r"`xp` must be an array library"),
    "ridge complex": (
        lambda: LeastSquares(X, Y, X, Y, ridge=np.complex128(1 + 2j)),
        TypeError,
        r"`ridge` must be a real number",
    ),
    "ridge 0-d text": (
        lambda: LeastSquares(X, Y, X, Y, ridge=np.array("3.0")),
        TypeError,
        r"`ridge` must be a real number",
    ),
    "ridge huge": (
        lambda: LeastSquares(X, Y, X, Y, ridge=10**400),
        ValueError,
        r"`ridge` must be finite",
    ),
    "clean ragged": (
        lambda: LeastSquares(X, Y, X, Y, clean=[[True], [True, False]]),
        ValueError,
        r"`clean` must be a rectangular array",
    ),
    "masked": (
        lambda: LeastSquares(np.ma.masked_less(X, 2), Y, X, Y),
        ValueError,
        r"`X` must not have masked entries",
    ),
    "batch ragged": (lambda: Q.batch(train=[[1], [1, 2]]), ValueError, r"`train` must be one-dim"),
    "multi problem": (lambda: MultiProblem(Q), TypeError, r"`problems` must be a sequence"),
    "multi none at all": (lambda: MultiProblem(None), TypeError, r"`problems` must be a sequence"),
    "labels_val class": (
        lambda: SoftmaxRegression(X, LABELS, X, LABELS * 7, num_classes=3),
        ValueError,
        r"`labels_val` must be below `num_classes` \(3\); got 7",
    ),
}


@refusals(CONSTRUCTORS)
def test_constructors(call, error, match) -> None:
    with np.errstate(divide="ignore"), pytest.raises(error, match=match):
        call()
