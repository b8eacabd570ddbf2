"""Solved and trapped rest points in one picture."""

from typing import Any

import numpy as np
import pytest

from warmflow.analysis.theorems import Certificate
from warmflow.figures import solved_and_trapped


def data() -> dict[str, Any]:
    def end(outcome: str, nonzeros: int, grad_norm: float, settled: bool = True) -> dict[str, Any]:
        return {"outcome": outcome, "nonzeros": nonzeros, "grad_norm": grad_norm, "p": 2,
                "settled": settled}  # fmt: skip

    return {
        "orbits": [end("solved", 7, 1e-9), end("trapped", 2, 0.3), end("trapped", 2, 0.5),
                   end("neither", 4, 1e-3, settled=False)],
        "vertices": [{"p": 2, "nonzeros": 3}],
        "saddles": [{"p": 2, "nonzeros": 3, "grad_norm": 1.0}],
    }  # fmt: skip


def certificate(content: dict[str, Any]) -> Certificate:
    return Certificate("T6", "", (), 0.0, 0.0, 0.0, True, {"data": content})


def lines(ax: Any) -> dict[str, Any]:
    return {line.get_label(): line for line in ax.lines}


def test_classes_are_drawn_where_they_are() -> None:
    found = lines(solved_and_trapped(certificate(data())))
    np.testing.assert_array_equal(found["limit of the flow, solved"].get_xdata(), [1e-9])
    np.testing.assert_array_equal(found["limit of the flow, trapped"].get_xdata(), [0.3, 0.5])
    np.testing.assert_allclose(found["trapped saddle"].get_ydata(), [1.0], atol=0.2)
    np.testing.assert_allclose(found["limit of the flow, trapped"].get_ydata(), 0, atol=0.2)


def test_vertices_of_solved_weights_stand_at_the_floor() -> None:
    assert lines(solved_and_trapped(certificate(data())))[
        "vertex of solved weights"
    ].get_xdata() == [1e-12]


def test_unsettled_orbits_are_left_out_and_empty_classes_have_no_legend() -> None:
    content = data()
    content["saddles"] = []
    ax = solved_and_trapped(certificate(content))
    assert len(ax.get_legend().get_texts()) == 3
    assert all(1e-3 not in line.get_xdata() for line in ax.lines)


def test_axes_are_used_and_labelled() -> None:
    import matplotlib.pyplot as plt

    ax = plt.figure().add_subplot()
    assert solved_and_trapped(certificate(data()), ax) is ax
    assert "nabla F" in ax.get_xlabel()
    assert "nonzeros" in ax.get_ylabel()
    ax.figure.canvas.draw()


def test_certificates_without_data_are_refused() -> None:
    with pytest.raises(ValueError, match="`certificate` of T6 holds no data"):
        solved_and_trapped(certificate({}))
