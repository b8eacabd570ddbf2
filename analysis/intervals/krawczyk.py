r"""Krawczyk's operator: existence and uniqueness of a zero of a smooth system in a box.

.. math::

    K(B) = m - C f(m) + (I - C\,f'(B))\,(B - m), \qquad m \in B, \quad C \approx f'(m)^{-1} .

If :math:`K(B)` lies in the interior of the box B, then f has exactly one zero in B, and it lies in
:math:`K(B)`; every zero in B always lies in :math:`K(B) \cap B`. Krawczyk (1969); Moore (1977);
Neumaier, *Interval Methods for Systems of Equations* (1990), theorem 5.1.8.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .arithmetic import flint

__all__ = ["enclose_zero", "krawczyk"]

System = Callable[[Any], Any]


def krawczyk(f: System, jacobian: System, box: Any) -> Any | None:
    """Return K(box), or None where the Jacobian at the mid-point cannot be inverted.

    Parameters
    ----------
    f : callable
        Column of N balls -> column of N balls that encloses f over them.
    jacobian : callable
        Column of N balls -> ``(N, N)`` balls that enclose f' over them.
    box : arb_mat
        Column of N balls.
    """
    middle = box.mid()
    try:
        C = jacobian(middle).mid().inv().mid()
    except ZeroDivisionError:
        return None
    size = box.nrows()
    identity = flint().arb_mat(size, size, [int(i == j) for i in range(size) for j in range(size)])
    return middle - C * f(middle) + (identity - C * jacobian(box)) * (box - middle)


def enclose_zero(f: System, jacobian: System, box: Any, *, max_refinements: int = 20) -> Any | None:
    """Prove that f has exactly one zero in a box, and enclose it as tightly as the precision lets.

    Parameters
    ----------
    f, jacobian, box
        See :func:`krawczyk`.
    max_refinements : int
        Further applications of the operator, each to the last enclosure; they stop when the
        largest radius no longer halves.

    Returns
    -------
    arb_mat or None
        A column of balls that holds the zero, or None where nothing was proved (which does not
        mean that there is no zero).
    """
    image = krawczyk(f, jacobian, box)
    if image is None or not _inside(image, box):
        return None
    for _ in range(max_refinements):
        finer = krawczyk(f, jacobian, image)
        if finer is None or not 2 * _radius(finer) < _radius(image):
            break
        image = finer
    return image


def _inside(inner: Any, outer: Any) -> bool:
    """Whether each ball of a column lies in the interior of its partner; NaN never does."""
    pairs = zip(inner.entries(), outer.entries(), strict=True)
    return all(b.contains_interior(a) for a, b in pairs)


def _radius(column: Any) -> Any:
    return max(entry.rad() for entry in column.entries())
