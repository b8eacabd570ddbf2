"""Refinement: sharper than the uniform grid at the same budget, deterministic, and never stuck."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from warmflow.dynamics import LeastSquares, sweep
from warmflow.dynamics.backend import resolve
from warmflow.dynamics.simplex import uniform_log_weights
from warmflow.dynamics.sweeps.cells import Plan
from warmflow.dynamics.sweeps.engines import Work, run
from warmflow.dynamics.sweeps.refinement import Refinement, Refiner
from warmflow.paper_repro.data import Toy

Field = Callable[[np.ndarray], np.ndarray]
SQUARE = np.logspace(-2, 0, 6)
TURN = np.linspace(0, 2 * np.pi, 400)
OFFSET = np.array([0.95, 1.05])
CIRCLE = -OFFSET + 0.7 * np.stack([np.cos(TURN), np.sin(TURN)], axis=1)


def inside_circle(cells: np.ndarray) -> np.ndarray:
    """Distance in decades to a circle, positive inside."""
    return 0.7 - np.hypot(*(np.log10(cells) + OFFSET).T)


def jump(cells: np.ndarray) -> np.ndarray:
    return np.where(inside_circle(cells) > 0, 100.0, 1.0)


def sigmoid(cells: np.ndarray) -> np.ndarray:
    return 10 ** (1 + np.tanh(10 * inside_circle(cells)))


def diagonal(cells: np.ndarray) -> np.ndarray:
    return np.where(np.log10(cells) @ [1.0, -1.3] > -0.27, 100.0, 1.0)


def refine(
    field: Field, alpha: np.ndarray, beta: np.ndarray, refinement: Refinement
) -> tuple[Refiner, np.ndarray, np.ndarray, list[int]]:
    """Run to the end; return also cells, values and the sizes of the batches."""
    refiner = Refiner(alpha, beta, refinement)
    cells, values, sizes = np.empty((0, 2)), np.empty(0), []
    while len(new := refiner.propose(values)):
        cells = np.concatenate([cells, new])
        values = np.concatenate([values, field(new)])
        sizes.append(len(new))
    return refiner, cells, values, sizes


def uniform_curve(
    field: Field, spans: tuple[tuple[float, float], ...], k: int, level: float, is_middle: bool
) -> np.ndarray:
    """Marching squares on a k x k grid; crossings in the middle of edges or interpolated in log."""
    x, y = (np.linspace(*span, k) for span in spans)
    X, Y = np.meshgrid(x, y, indexing="ij")
    values = field(10 ** np.stack([X.ravel(), Y.ravel()], axis=1))
    # Failed cells count as collapsed, as in the Refiner.
    f = np.log(np.where(np.isnan(values), 1e-3, values) / level).reshape(k, k)
    f = np.sign(f) if is_middle else f
    pieces = []
    for i in range(k - 1):
        for j in range(k - 1):
            ring = [(i, j), (i + 1, j), (i + 1, j + 1), (i, j + 1), (i, j)]
            ends = []
            for p, q in pairwise(ring):
                if (f[p] > 0) != (f[q] > 0):
                    share = f[p] / (f[p] - f[q])
                    ends.append([z[p] + share * (z[q] - z[p]) for z in (X, Y)])
            pieces += [ends[n : n + 2] for n in range(0, len(ends) - 1, 2)]
    return np.array(pieces)


def errors(places: np.ndarray, pieces: np.ndarray) -> np.ndarray:
    """Distances in decades from points of the true curve to the nearest piece: RMS and largest."""
    start, run_ = pieces[:, 0], pieces[:, 1] - pieces[:, 0]
    offset = places[:, None] - start
    share = np.clip((offset * run_).sum(-1) / np.maximum((run_**2).sum(-1), 1e-300), 0, 1)
    distance = np.linalg.norm(offset - share[..., None] * run_, axis=-1).min(axis=1)
    return np.array([np.sqrt((distance**2).mean()), distance.max()])


def gains(
    field: Field,
    coarse: tuple[int, int],
    spans: tuple[tuple[float, float], ...],
    level: float,
    k: int,
    places: np.ndarray,
) -> np.ndarray:
    """How much smaller than the uniform grid's the errors are: rows middle, interpolated."""
    axes = [np.logspace(*span, count) for span, count in zip(spans, coarse, strict=True)]
    refiner = refine(field, *axes, Refinement(num_cells=k * k, level=level))[0]
    rows = []
    for is_middle in (True, False):
        ours = errors(places, np.log10(refiner.curve(interpolate=not is_middle)))
        rows.append(errors(places, uniform_curve(field, spans, k, level, is_middle)) / ours)
    return np.array(rows)


@pytest.mark.parametrize(("k", "least"), [(16, 4.0), (32, 15.0)])
@pytest.mark.parametrize("field", [jump, sigmoid])
def test_circle_is_located_more_precisely(field: Field, k: int, least: float) -> None:
    middle, interpolated = gains(field, (k // 4 + 2,) * 2, ((-2, 0), (-2, 0)), 10.0, k, CIRCLE)
    assert middle.min() > least
    # Interpolation between uniform cells is good already where the field is smooth.
    assert interpolated.min() > (least if field is jump else least / 4)


def test_a_straight_jump_is_located_to_a_hundredth_of_the_uniform_error() -> None:
    x = np.linspace(-1.95, -0.05, 300)
    places = np.stack([x, (x + 0.27) / 1.3], axis=1)
    places = places[np.abs(places[:, 1] + 1) < 0.95]
    found = gains(diagonal, (6, 6), ((-2, 0), (-2, 0)), 10.0, 32, places)
    assert found.min() > 100


class Collapse:
    """ESS of the two-cluster toy; failed cells NaN, or one weight only."""

    def __init__(self, seed: int, num_steps: int, failed: float = np.nan) -> None:
        self.problem: LeastSquares = Toy(seed=seed).make().problem(1e-3)
        self.num_steps, self.failed = num_steps, failed
        self.log_w0 = uniform_log_weights(self.problem.num_samples)
        self.theta0 = self.problem.initial_theta(np.exp(self.log_w0))

    def __call__(self, cells: np.ndarray) -> np.ndarray:
        alpha, beta = np.ascontiguousarray(np.asarray(cells).T)
        steps = (self.num_steps,)
        plan = Plan(alpha, beta, self.num_steps, steps, self.theta0, self.log_w0)
        table = run(Work(self.problem, plan, False, (1e-6,), None), resolve("auto", self.problem))
        ess = table[1]["ess"][:, 0]
        return np.where(table[1]["status"] > 1, self.failed, ess)


def crossings(field: Field, level: float, spans: tuple[tuple[float, float], ...]) -> np.ndarray:
    """All crossings along beta between good cells, by bisection, away from failed cells."""
    x, y = np.linspace(*spans[0], 31), np.linspace(*spans[1], 101)
    X, Y = np.meshgrid(x, y, indexing="ij")
    f = field(10 ** np.stack([X.ravel(), Y.ravel()], axis=1)).reshape(X.shape)
    good = np.isfinite(f[:, 1:]) & np.isfinite(f[:, :-1])
    i, j = np.nonzero(((f[:, 1:] > level) != (f[:, :-1] > level)) & good)
    low, high, is_above = y[j], y[j + 1], f[i, j] > level
    for _ in range(20):
        middle = 0.5 * (low + high)
        same = (field(10 ** np.stack([x[i], middle], axis=1)) > level) == is_above
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    places = np.stack([x[i], 0.5 * (low + high)], axis=1)
    shifts = [[dx, dy] for dx in (-0.15, 0.0, 0.15) for dy in (-0.15, 0.0, 0.15)]
    return places[np.all([np.isfinite(field(10 ** (places + s))) for s in shifts], axis=0)]


@pytest.mark.parametrize("share", [0.1, 0.5])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_collapse_boundary_is_at_least_four_times_sharper(seed: int, share: float) -> None:
    """Issue's claim, on a map that holds the collapse, the divergence, and both phases."""
    spans, level = ((-3.0, 0.0), (-3.0, 2.0)), share * 200
    field = Collapse(seed, 300)
    places = crossings(field, level, spans)
    assert len(places) > 10
    middle, interpolated = gains(field, (6, 8), spans, level, 16, places)
    assert middle.min() > 20
    assert interpolated[0] > 4  # RMS; the largest error may sit where the curve meets failed cells
    assert interpolated[1] > 3


def test_the_same_values_give_the_same_cells_and_none_twice() -> None:
    plan = Refinement(num_cells=300)
    _, cells, values, sizes = refine(sigmoid, SQUARE, SQUARE, plan)
    again = Refiner(SQUARE, SQUARE, plan)
    known = 0
    for size in sizes:
        np.testing.assert_array_equal(again.propose(values[:known]), cells[known : known + size])
        known += size
    assert again.propose(values).shape == (0, 2)
    assert len(np.unique(cells, axis=0)) == len(cells) <= 300
    assert max(sizes[1:]) <= 300 / 8 / 0.8


def test_the_coarse_grid_comes_first_and_exactly() -> None:
    alpha, beta = np.array([0.1, 0.3, 0.7]), np.array([0.01, 0.2])
    refiner, cells, *_ = refine(jump, alpha, beta, Refinement(num_cells=60))
    np.testing.assert_array_equal(cells[:6], [[a, b] for a in alpha for b in beta])
    depths = refiner.depths()
    assert np.all(depths[:6] == 0)
    assert np.all(depths[6:] > 0)
    assert np.all((cells >= [0.1, 0.01]) & (cells <= [0.7, 0.2]))


@pytest.mark.parametrize("axis", [0, 1])
def test_one_axis_alone_is_bisected(axis: int) -> None:
    axes = [np.array([0.5]), np.array([0.5])]
    axes[axis] = np.logspace(-2, 0, 4)

    def field(cells: np.ndarray) -> np.ndarray:
        return np.where(cells[:, axis] > 0.123, 50.0, 2.0)

    _, cells, values, _ = refine(field, *axes, Refinement(num_cells=30))
    assert np.all(cells[:, 1 - axis] == 0.5)
    last = cells[values == 2.0, axis].max(), cells[values == 50.0, axis].min()
    assert np.log10(last[1] / last[0]) < 1.01 * (2 / 3) / 2**10


def test_failed_cells_do_not_take_the_budget() -> None:
    """A level curve and, far longer, the border of failed cells beside collapsed ones."""

    def field(cells: np.ndarray) -> np.ndarray:
        x, y = np.log10(cells).T
        return np.where(x > -0.7, np.nan, np.where(y > -1.07, 1.0, 100.0))

    _, cells, _, _ = refine(field, SQUARE, SQUARE, Refinement(num_cells=256))
    x, y = np.log10(cells[36:]).T
    assert np.mean((np.abs(x + 0.7) < 0.1) & (y > -0.9)) < 0.1
    assert np.mean(np.abs(y + 1.07) < 0.1) > 0.3


@pytest.mark.parametrize("value", [3.0, np.nan, np.inf])
def test_without_a_curve_the_whole_plane_is_explored(value: float) -> None:
    cells = refine(lambda c: np.full(len(c), value), SQUARE, SQUARE, Refinement(num_cells=121))[1]
    assert len(cells) >= 120
    gaps = np.abs(np.log10(cells)[:, None] - np.log10(cells)[None]).max(-1) + np.eye(len(cells))
    assert gaps.min(axis=1).max() < 0.41


@pytest.mark.parametrize("seed", range(12))
def test_rough_fields_end_within_the_budget(seed: int) -> None:
    rng = np.random.default_rng(seed)
    waves, shift = 4 * rng.normal(size=(6, 2)), 6 * rng.random(6)

    def field(cells: np.ndarray) -> np.ndarray:
        phase = np.log10(cells) @ waves.T + shift
        return np.where(np.cos(phase).sum(1) > 2.2, np.nan, np.exp(np.sin(phase).sum(1)))

    plan = Refinement(num_cells=300, max_depth=int(rng.integers(0, 12)))
    cells = refine(field, SQUARE[:5], SQUARE[: 1 + seed % 4], plan)[1]
    assert len(np.unique(cells, axis=0)) == len(cells) <= 300


def test_levels_and_sides_follow_the_quantity() -> None:
    refiner = refine(jump, SQUARE, SQUARE, Refinement(num_cells=100))[0]
    np.testing.assert_allclose(refiner.level, 10.0)
    narrow = refine(lambda c: 1 + (jump(c) > 9), SQUARE, SQUARE, Refinement(num_cells=100))[0]
    np.testing.assert_allclose(narrow.level, 1.5)
    assert not Refinement(num_cells=100).failed_is_high
    assert Refinement(num_cells=100, quantity="val_loss").failed_is_high


def test_values_of_a_sweep_are_read() -> None:
    problem = Toy(seed=0).make().problem(1e-3)
    ds = sweep(problem, alpha=[0.01, 1e3], beta=[0.01, 0.1], num_steps=20, save_steps=10)
    values = Refinement(num_cells=9).values(ds)
    expected = ds["ess"].isel(step=-1).where(ds["status"] == 0).values.ravel()
    np.testing.assert_array_equal(values, expected)
    assert np.isnan(values).any()
    assert np.isfinite(values).any()
    with pytest.raises(ValueError, match="must have one value per cell; got 'support'"):
        Refinement(num_cells=9, quantity="support").values(ds)
    with pytest.raises(ValueError, match="must be a variable of the sweep; got 'mass'"):
        Refinement(num_cells=9, quantity="mass").values(ds)
    one = Refinement(num_cells=9, quantity="support").values(ds.isel(threshold=[0]))
    assert one.shape == (4,)


def test_bad_input_is_named() -> None:
    plan = Refinement(num_cells=50)
    with pytest.raises(ValueError, match="`num_cells` must be at least 64, the cells of the coar"):
        Refiner(np.logspace(-2, 0, 8), np.logspace(-2, 0, 8), plan)
    with pytest.raises(ValueError, match="`alpha` must hold increasing rates > 0"):
        Refiner([0.0, 1.0], [1.0], plan)
    with pytest.raises(ValueError, match="`beta` must hold increasing rates > 0"):
        Refiner([1.0], [2.0, 1.0], plan)
    with pytest.raises(ValueError, match="`alpha` or `beta` must hold at least two rates"):
        Refiner([1.0], [2.0], plan)
    with pytest.raises(ValueError, match="`values` must be those of the 0 cells"):
        Refiner(SQUARE, SQUARE, plan).propose([1.0])
    with pytest.raises(ValueError, match="`max_depth` must be at most 40; got 41"):
        Refinement(num_cells=50, max_depth=41)
    with pytest.raises(ValueError, match="`num_cells` must be >= 2"):
        Refinement(num_cells=1)
    with pytest.raises(ValueError, match="`quantity` must be the name of a variable"):
        Refinement(num_cells=50, quantity="")
