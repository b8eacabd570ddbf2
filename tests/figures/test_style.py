"""The one style: applied inside, gone outside, safe for all eyes, nothing clipped."""

import io

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from warmflow import figures
from warmflow.figures import style


def test_the_users_settings_stay() -> None:
    before = dict(mpl.rcParams)
    with style.context():
        assert mpl.rcParams["pdf.fonttype"] == 42
        assert mpl.rcParams["text.usetex"] is False
    figures.weight_spectrum([0.5, 0.5])
    assert dict(mpl.rcParams) == before


def test_drawing_functions_use_the_style() -> None:
    ax = figures.weight_spectrum([0.5, 0.3, 0.2])
    assert not ax.spines["top"].get_visible()
    assert ax.xaxis.label.get_size() == 8.5


def luminance(colour: str) -> float:
    channels = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return float(np.dot([0.2126, 0.7152, 0.0722], channels))


def simulate(colour: str, matrix: np.ndarray) -> np.ndarray:
    """Colour as dichromats see it (Machado, Oliveira and Fernandes 2009, severity 1)."""
    return np.clip(matrix @ to_rgb(colour), 0, 1)


DEUTERANOPIA = np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]])
PROTANOPIA = np.array([[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]])


@pytest.mark.parametrize("matrix", [np.eye(3), DEUTERANOPIA, PROTANOPIA])
def test_colours_of_roles_stay_apart(matrix: np.ndarray) -> None:
    colours = [
        simulate(style.STYLES[role]["color"], matrix) for role in ("clean", "other", "exact")
    ]
    gaps = [np.linalg.norm(a - b) for k, a in enumerate(colours) for b in colours[:k]]
    assert min(gaps) > 0.3


def test_colours_are_dark_enough_on_white() -> None:
    for colour in style.CYCLE[:3]:
        assert 1.05 / (luminance(colour) + 0.05) > 3.0


def test_ordered_colours_run_from_dark_to_light() -> None:
    lightness = [np.dot([0.2126, 0.7152, 0.0722], colour[:3]) for colour in style.sequence(6)]
    assert np.all(np.diff(lightness) > 0.02)
    assert len(style.sequence(1)) == 1


def test_new_figures_live_outside_pyplot() -> None:
    import matplotlib.pyplot as plt

    figure = style.new_figure(style.DOUBLE)
    assert plt.get_fignums() == []
    assert tuple(figure.get_size_inches()) == style.DOUBLE


def test_pdf_embeds_truetype_fonts() -> None:
    figure = style.new_figure()
    figures.weight_spectrum([0.5, 0.5], figure.subplots())
    buffer = io.BytesIO()
    with style.context():
        figure.savefig(buffer, format="pdf")
    assert b"/Type3" not in buffer.getvalue()
    assert b"/FontFile2" in buffer.getvalue()


def test_watermark_is_written() -> None:
    figure = style.new_figure()
    style.watermark(figure, "QUICK")
    assert [text.get_text() for text in figure.texts] == ["QUICK"]


def test_one_legend_above_replaces_those_of_the_axes() -> None:
    figure = style.new_figure()
    axes = figure.subplots(1, 2)
    for ax in axes:
        ax.plot([0, 1], label="a")
        ax.plot([1, 0], label="b")
        ax.legend()
    style.legend_above(figure, axes, "title")
    assert [ax.get_legend() for ax in axes] == [None, None]
    assert len(figure.legends) == 1
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]
