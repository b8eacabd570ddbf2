"""Weights and observables against time."""

import numpy as np
import pytest
from matplotlib.colors import to_rgba

from warmflow.figures import observable_over_time, style, weights_over_time

from ._results import Exportable, run


def test_every_sample_has_its_line() -> None:
    ds = run()
    ax = weights_over_time(ds)
    segments = ax.collections[0].get_segments()
    drawn = sorted(segment[:, 1].tolist() for segment in segments)
    expected = sorted(column.tolist() for column in ds["w"].values.T)
    np.testing.assert_allclose(drawn, expected)
    np.testing.assert_array_equal(segments[0][:, 0], ds["time"])


def test_clean_and_other_samples_have_their_colours() -> None:
    ds = run()
    clean = np.array([True, True, False, False, False, False])
    ax = weights_over_time(ds, clean=clean, labels=("good", "bad"))
    other, good = ax.collections[:2]
    assert (len(good.get_segments()), len(other.get_segments())) == (2, 4)
    assert to_rgba(good.get_colors()[0])[:3] == to_rgba(style.COLOURS["blue"])[:3]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["good", "bad"]
    best = max(segment[-1, 1] for segment in good.get_segments())
    assert best == pytest.approx(float(ds["w"][-1].max()))


def test_many_samples_are_thinned_but_the_extremes_stay() -> None:
    ds = run(num_samples=3000)
    segments = weights_over_time(ds).collections[0].get_segments()
    ends = [segment[-1, 1] for segment in segments]
    assert len(segments) == 200
    assert max(ends) == pytest.approx(float(ds["w"][-1].max()))


def test_axes_say_what_they_show() -> None:
    ax = weights_over_time(run())
    assert (ax.get_xlabel(), ax.get_yscale()) == ("time t", "log")
    assert weights_over_time(run(time="step")).get_xlabel() == "outer step k"


def test_the_floor_limits_the_axis() -> None:
    low = run(num_samples=60)
    assert weights_over_time(low, floor=1e-6).get_ylim()[0] == 1e-6
    assert weights_over_time(run(2)).get_ylim()[0] > 1e-3


def test_trajectories_are_accepted_and_other_things_named() -> None:
    weights_over_time(Exportable())
    with pytest.raises(TypeError, match=r"`result` must be an xarray.Dataset or a Trajectory; got"):
        weights_over_time([1, 2, 3])
    with pytest.raises(ValueError, match=r"`clean` must have shape \(6,\); got \(5,\)"):
        weights_over_time(run(), clean=np.ones(5))
    with pytest.raises(ValueError, match="`floor` must lie between 0 and 1; got 0"):
        weights_over_time(run(), floor=0.0)
    with pytest.raises(ValueError, match="must have a dimension time or step"):
        weights_over_time(run().rename(time="epoch"))


def test_observables_of_several_runs() -> None:
    runs = {"slow": run(), "fast": run(num_times=9), "exact": Exportable()}
    ax = observable_over_time(runs, "ess", exact="exact", label="ESS")
    lines = {line.get_label(): line for line in ax.lines}
    assert [*lines] == ["slow", "fast", "exact"]
    np.testing.assert_allclose(lines["fast"].get_ydata(), run(num_times=9)["ess"])
    assert lines["exact"].get_linestyle() == "--"
    assert lines["exact"].get_zorder() > lines["slow"].get_zorder()
    assert ax.get_ylabel() == "ESS"


def test_log_axis_where_values_span_a_decade() -> None:
    wide = run().assign(ess=("time", np.logspace(0, 2, 5)))
    assert observable_over_time({"a": wide}, "ess").get_yscale() == "log"
    assert observable_over_time({"a": run()}, "val_loss").get_yscale() == "linear"
    assert observable_over_time({"a": run()}, "val_loss", log=True).get_yscale() == "log"


def test_unknown_exact_run_is_refused() -> None:
    with pytest.raises(ValueError, match="`exact` must name one of `runs`; got 'b'"):
        observable_over_time({"a": run()}, "ess", exact="b")


@pytest.mark.parametrize(("num_samples", "num_times"), [(1, 5), (6, 1), (1, 1)])
def test_degenerate_runs_are_drawn_without_warnings(num_samples: int, num_times: int) -> None:
    ds = run(num_samples, num_times)
    weights, size = weights_over_time(ds), observable_over_time({"": ds}, "ess")
    for ax in (weights, size):
        ax.figure.canvas.draw()
    np.testing.assert_allclose(size.lines[0].get_ydata(), ds["ess"])


def test_uniform_weights_are_drawn_without_warnings() -> None:
    ds = run()
    ax = weights_over_time(ds.assign(w=0 * ds["w"] + 1 / 6))
    ax.figure.canvas.draw()
    low, high = ax.get_ylim()
    assert low < 1 / 6 < high
