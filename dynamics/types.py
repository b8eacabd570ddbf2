"""Array aliases and the axis legend of the package.

Axes, from the left: ``...`` are leading axes (sweep cells, seeds), then one of

===========  ======  ==================================================
axis         length  meaning
===========  ======  ==================================================
``param``    p       coordinates of the inner parameters ``theta``
``sample``   n       training samples, one weight each
``val``      m       validation samples (the target law)
``feature``  d       quadratic features of the reduced flow, p(p+3)/2
===========  ======  ==================================================

The batch rule, stated once: the leading axes of a result are the broadcast leading axes of all
arguments.
"""

from __future__ import annotations

from typing import Any

__all__ = ["Array", "Namespace"]

Array = Any
"""An array of the problem's namespace (NumPy, torch, CuPy or another array-API library)."""

Namespace = Any
"""An array-API namespace, as returned by ``array_api_compat.array_namespace``."""
