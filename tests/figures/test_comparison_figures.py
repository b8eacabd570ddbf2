"""Methods beside each other: what is drawn is what the Dataset holds."""

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from warmflow import figures
from warmflow.analysis.comparison import method_names
from warmflow.figures import style
from warmflow.figures.families import FAMILIES, family_of, looks

from ._comparison import FEW, comparison

DRAWINGS: list[tuple[Callable[..., Axes], dict[str, int]]] = [
    (figures.sparsity_against_ratio, {}),
    (figures.budget_frontier, {"ratio": 2}),
    (figures.risk_against_ess, {}),
]


def curve(ax: Axes, entry: str) -> tuple[np.ndarray, np.ndarray]:
    """The median of an entry as it is drawn."""
    [line] = [line for line in ax.lines if line.get_label() == entry.replace("_", " ")]
    return np.asarray(line.get_xdata()), np.asarray(line.get_ydata())


def legend(ax: Axes) -> list[str]:
    found = ax.get_legend()
    assert found is not None
    return [text.get_text() for text in found.get_texts()]


def test_every_method_has_a_family() -> None:
    members = [name for _, names in FAMILIES.values() for name in names]
    assert len(members) == len({*members})
    assert {*members} == {*method_names()}


def test_looks_tell_the_members_of_a_family_apart() -> None:
    names = [name for _, members in FAMILIES.values() for name in members]
    names += ["joint+entropy", "soba+entropy", "mine"]
    found = looks(names)
    assert {*found} == {*names}
    assert len({(x.family, x.marker) for x in found.values()}) == len(names)
    assert family_of("joint+entropy") == "solved adjoint"
    assert family_of("mine") == family_of("+") == "other"
    colours = [look.colour for look in found.values()]
    assert len({*colours}) == len(FAMILIES)


def test_sparsity_is_the_median_of_ess_over_n() -> None:
    ds = comparison()
    ax = figures.sparsity_against_ratio(ds)
    for entry in FEW:
        x, y = curve(ax, entry)
        np.testing.assert_array_equal(x, ds["ratio"])
        want = np.median(ds["ess"].sel(entry=entry).isel(budget=-1) / 120, axis=1)
        np.testing.assert_allclose(y, want)
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert {text.get_text() for text in ax.texts} == {name.replace("_", " ") for name in FEW}
    assert legend(ax) == ["solved adjoint", "tracked adjoint", "one step", "value gap"]


def test_frontier_is_the_median_of_the_test_risk() -> None:
    ds = comparison().isel(ratio=2)
    ax = figures.budget_frontier(ds)
    x, y = curve(ax, "f2sa")
    np.testing.assert_array_equal(x, ds["budget"])
    np.testing.assert_allclose(y, ds["test_loss"].sel(entry="f2sa").median("seed"))
    levels = {line.get_label(): line.get_ydata()[0] for line in ax.lines if line.get_gid()}
    assert levels["uniform weights"] == 1.05
    assert levels["clean samples only"] == 0.045
    assert legend(ax)[-4:] == [*levels]
    names = ["reference_test_loss", "reference"]
    alone = figures.budget_frontier(ds.drop_vars(names))
    assert not [line for line in alone.lines if line.get_gid()]


def test_risk_against_ess_follows_the_ratio() -> None:
    ds = comparison()
    ax = figures.risk_against_ess(ds)
    x, y = curve(ax, "soba")
    last = ds.sel(entry="soba").isel(budget=-1).median("seed")
    np.testing.assert_allclose(x, last["ess"] / 120)
    np.testing.assert_allclose(y, last["test_loss"])


@pytest.mark.parametrize(("draw", "at"), DRAWINGS)
def test_a_family_stands_in_front(draw: Callable[..., Axes], at: dict[str, int]) -> None:
    ds = comparison(["joint", "exact", "soba", "f2sa"]).isel(at)
    ax = draw(ds, family="solved adjoint")
    assert legend(ax) == ["joint", "exact"]
    blue = [line for line in ax.lines if to_hex(line.get_color()) == style.COLOURS["blue"].lower()]
    [grey] = [line for line in ax.lines if line.get_color() == "0.82"]
    assert np.isnan(grey.get_xdata()).sum() == 2  # one gap after each of the others
    dots = [line for line in blue if line.get_alpha() == 0.25]
    assert len(dots) == 2
    points = ds.sizes["budget" if at else "ratio"]
    assert grey.get_ydata().size == 2 * (points + 1)
    assert all(line.get_ydata().size == points * ds.sizes["seed"] for line in dots)
    assert not list(ax.texts)
    assert (ax.get_xlim(), ax.get_ylim()) == ((whole := draw(ds)).get_xlim(), whole.get_ylim())


def test_failed_seeds_are_left_out_and_marked() -> None:
    ds = comparison()
    ds["ess"][0, -1, 0, -1] = np.nan
    ds["ess"][1, -1, :, -1] = np.nan
    ax = figures.sparsity_against_ratio(ds)
    _, y = curve(ax, "joint")
    np.testing.assert_allclose(y[-1], float(ds["ess"][0, -1, 1:, -1].median()) / 120)
    hollow = [line for line in ax.lines if line.get_markerfacecolor() == "white"]
    assert [line.get_ydata().size for line in hollow] == [1, 1, 0, 0]
    _, y = curve(ax, "soba")
    assert np.isnan(y[-1])
    assert {text.get_text() for text in ax.texts} >= {"soba"}


def test_an_entry_without_a_number_has_no_label() -> None:
    ds = comparison()
    ds["ess"][1] = np.nan
    ax = figures.sparsity_against_ratio(ds)
    assert "soba" not in {text.get_text() for text in ax.texts}


def test_labels_are_left_out_where_they_do_not_fit() -> None:
    many = [f"{name}+{k}" for name in FEW for k in range(7)]
    ax = figures.sparsity_against_ratio(comparison(many))
    assert not list(ax.texts)


VARIANTS = [f"{name}{extra}" for name in FEW for extra in ("", "+entropy", "+mixed", "+floored")]


def test_variants_of_a_method_have_looks_of_their_own() -> None:
    found = looks(VARIANTS, "method")
    assert {look.family for look in found.values()} == {*FEW}
    assert len({(x.family, x.colour, x.line) for x in found.values()}) == len(VARIANTS)
    same = [found[f"{name}+mixed"] for name in FEW]
    assert len({(x.colour, x.marker, x.line) for x in same}) == 1


@pytest.mark.parametrize(("draw", "at"), DRAWINGS)
def test_a_method_stands_in_front_of_the_others(
    draw: Callable[..., Axes], at: dict[str, int]
) -> None:
    ax = draw(comparison(VARIANTS).isel(at), family="soba", by="method")
    shown = {str(line.get_label()) for line in ax.lines if not line.get_gid()}
    assert {name for name in shown if name[0] != "_"} == {
        name for name in VARIANTS if name.startswith("soba")
    }
    assert ax.get_title(loc="left") == "soba"
    assert ax.get_legend() is None
    figures.variants_legend(ax.figure, comparison(VARIANTS))
    [found] = ax.figure.legends
    texts = [text.get_text() for text in found.get_texts()]
    assert texts[:4] == ["plain", "entropy", "mixed", "floored"]
    assert texts[-1] == "all others"


def test_many_entries_fit_on_the_page() -> None:
    """All methods with nine mitigations: nothing drawn overlaps, and labels stand below columns."""
    from warmflow.paper_repro.commands._compare_drawings import drawn_page

    names = [name for _, members in FAMILIES.values() for name in members]
    many = [f"{name}{extra}" for name in names for extra in ["", *(f"+m{k}" for k in range(8))]]
    for entries in (many, names[:5] + names[-9:]):
        figure = drawn_page(figures.sparsity_against_ratio, comparison(entries))
        figure.draw_without_rendering()
        boxes = [ax.get_window_extent() for ax in figure.axes]
        boxes += [legend.get_window_extent() for legend in figure.legends]
        boxes += [ax.get_legend().get_window_extent() for ax in figure.axes if ax.get_legend()]
        page = figure.bbox
        for k, box in enumerate(boxes):
            assert page.x0 <= box.x0 < box.x1 <= page.x1
            assert page.y0 <= box.y0 < box.y1 <= page.y1
            assert not any(box.shrunk(0.98, 0.98).overlaps(other) for other in boxes[k + 1 :])
        for ax in figure.axes:
            has_numbers = any(label.get_visible() for label in ax.get_xticklabels())
            assert has_numbers == bool(ax.get_xlabel())
