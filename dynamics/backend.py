"""Which engine runs a sweep: the one seam behind ``sweep(..., backend=...)``."""

from __future__ import annotations

from . import checks

__all__ = ["BACKENDS", "resolve"]

BACKENDS = ("auto", "numpy", "cupy", "torch")
_AVAILABLE = ("numpy",)


def resolve(backend: str) -> str:
    """Return the engine that ``backend`` stands for on this machine.

    ``"auto"`` stands for ``"compiled"``, kernels in Numba for the problems that they suit (for the
    others :mod:`.sweeps.engines` chooses); ``"numpy"`` is the plain reference.

    Raises
    ------
    ValueError
        For an unknown name, or one that cannot run here, with its cure.
    """
    checks.choice("backend", backend, BACKENDS)
    if backend == "auto":
        return "compiled"
    if backend not in _AVAILABLE:
        raise ValueError(
            f"`backend` {backend!r} is not available: this version has no engine for it; "
            "use `backend='numpy'`."
        )
    return backend
