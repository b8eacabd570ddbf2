"""Driving SciPy's integrators: thinning, a cap on the work, and an honest end.

``scipy.integrate.solve_ivp`` is such a loop; this one drives the same ``OdeSolver`` objects and
adds what it lacks: a bound on the evaluations, a bounded record of the accepted steps, a rest-point
test, detection of stiffness for explicit methods, and a status instead of an exception.
"""

from __future__ import annotations

from .loop import March, march

__all__ = ["March", "march"]
