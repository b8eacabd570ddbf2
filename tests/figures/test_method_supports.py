"""Supports of all methods against the bounds of their kinds."""

import numpy as np
from numpy.testing import assert_allclose

from warmflow.analysis.theorems import Certificate
from warmflow.figures import supports_by_method


def run(label: str, p: int, support: int, bound: int, kind: str = "trapped") -> dict:
    return {"label": label, "p": p, "support": support, "bound": bound, "kind": kind}


DATA = {
    "num_samples": 12,
    "runs": [
        run("Joint", 1, 1, 1), run("Joint", 1, 1, 1), run("Joint", 2, 2, 2),
        run("Penalty", 2, 9, 2, "solved"),
    ],
    "unbounded": [{"label": "LearningToReweight", "p": 2, "support": 7}],
}  # fmt: skip


def test_runs_are_marks_and_bounds_are_ticks() -> None:
    ax = supports_by_method(Certificate("M1", "", (), 0.0, 0.0, 0.0, True, {"data": DATA}))
    rows = [text.get_text() for text in ax.get_yticklabels()]
    assert rows == ["Joint", "Penalty", "LearningToReweight"]
    marks = [
        (float(x), round(float(y)), bool(len(dots.get_facecolors())), float(size))
        for dots in ax.collections
        for (x, y), size in zip(dots.get_offsets(), dots.get_sizes(), strict=True)
    ]
    found = {(x, row, is_filled) for x, row, is_filled, _ in marks}
    assert found == {(1, 0, True), (2, 0, True), (9, 1, False), (7, 2, True)}
    twice, once = (next(m[3] for m in marks if m[0] == x) for x in (1, 2))
    assert_allclose(twice - 8.0, 2 * (once - 8.0))
    ticks = [line for line in ax.lines if line.get_marker() == "|" and len(line.get_xdata())]
    bounds = {(float(np.ravel(t.get_xdata())[0]), round(float(np.ravel(t.get_ydata())[0])))
              for t in ticks}  # fmt: skip
    assert bounds == {(1, 0), (2, 0), (2, 1)}
