"""One style for all figures: colours, sizes, fonts.

Colours are those of Okabe and Ito (2008), which stay apart for all common kinds of colour
blindness; ordered curves use viridis and maps cividis. Text is set by Matplotlib itself, never by
TeX, and PDF files embed TrueType fonts. Figures use `constrained` layout, so that nothing overlaps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar

import matplotlib as mpl
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = [
    "COLOURS", "CYCLE", "DOUBLE", "SINGLE", "STYLES",
    "axes_or_new", "context", "legend_above", "new_figure", "sequence", "styled", "watermark",
]  # fmt: skip

SINGLE: Final = (3.4, 2.6)
"""Size in inches of a figure one column wide."""

DOUBLE: Final = (7.0, 2.9)
"""Size in inches of a figure two columns wide."""

COLOURS: Final = {
    "black": "#000000", "orange": "#E69F00", "sky": "#56B4E9", "green": "#009E73",
    "yellow": "#F0E442", "blue": "#0072B2", "vermillion": "#D55E00", "purple": "#CC79A7",
    "grey": "#8C8C8C",
}  # fmt: skip
CYCLE: Final = tuple(
    COLOURS[name] for name in ("blue", "vermillion", "green", "orange", "purple", "sky", "black")
)

STYLES: Final[dict[str, dict[str, Any]]] = {
    "exact": {"color": COLOURS["black"], "linestyle": "--"},
    "clean": {"color": COLOURS["blue"]},
    "other": {"color": COLOURS["vermillion"]},
    "guide": {"color": COLOURS["grey"], "linestyle": ":", "linewidth": 0.8},
}
"""Line styles of roles that mean the same in every figure."""

# Any: Matplotlib types the names of its settings since 3.11 only.
_RC: Final[Any] = {
    "axes.grid": False,
    "axes.labelsize": 8.5,
    "axes.linewidth": 0.7,
    "axes.prop_cycle": cycler(color=CYCLE),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 8.5,
    "figure.constrained_layout.use": True,
    "figure.dpi": 120,
    "figure.figsize": SINGLE,
    "font.size": 8.5,
    "image.cmap": "cividis",
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "lines.linewidth": 1.3,
    "lines.markersize": 4.0,
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "savefig.dpi": 200,
    "text.usetex": False,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
}

_Args = ParamSpec("_Args")
_Result = TypeVar("_Result")


@contextmanager
def context() -> Iterator[None]:
    """Draw and save in this style inside the block; the user's own settings stay as they are."""
    with mpl.rc_context(_RC):
        yield


def styled(function: Callable[_Args, _Result]) -> Callable[_Args, _Result]:
    """Run `function` inside `context`."""

    @wraps(function)
    def inner(*args: _Args.args, **kwargs: _Args.kwargs) -> _Result:
        with context():
            return function(*args, **kwargs)

    return inner


def new_figure(size: tuple[float, float] = SINGLE) -> Figure:
    """Make an empty figure outside pyplot: nothing to close, no display needed."""
    with context():
        return Figure(figsize=size, layout="constrained")


def axes_or_new(ax: Axes | None) -> Axes:
    """Return `ax`, or the axes of a new pyplot figure, which notebooks show by themselves."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots()[1]


def legend_above(figure: Figure, axes: Sequence[Axes], title: str = "", columns: int = 4) -> None:
    """Replace the legends of `axes` by one above all of them, with the entries of the first."""
    legends = [legend for ax in axes if (legend := ax.get_legend()) is not None]
    for legend in legends:
        legend.remove()
    if legends:
        handles = legends[0].legend_handles
        count = min(columns, len(handles))
        figure.legend(handles=handles, title=title, loc="outside upper center", ncols=count)


def sequence(count: int) -> list[Any]:
    """Colours for `count` curves in the order of a parameter, from dark to light."""
    colormap = mpl.colormaps["viridis"]
    return [colormap(0.93 * k / max(count - 1, 1)) for k in range(count)]


def watermark(figure: Figure, text: str) -> None:
    """Write `text` large and pale across `figure`."""
    figure.text(
        0.5, 0.5, text, fontsize=44, color="0.5", alpha=0.16, rotation=25,
        ha="center", va="center", weight="bold", zorder=1000, in_layout=False,
    )  # fmt: skip
