r"""Any ``torch.nn.Module`` as a bilevel problem: the thin bridge between networks and the theory.

:class:`TorchProblem` gives a module the five oracles, so every method, integrator and analysis
runs on it. How the pieces compose: ``admission`` and ``losses`` refuse by name what has no
per-sample losses, ``probes`` by trying; ``calculus`` turns a function
:math:`\theta \mapsto l(\theta)` into :math:`J u`, :math:`J^\top v` and
:math:`\sum_i u_i \nabla^2 l_i\, v`, by forward mode or, where torch lacks it, by double backward;
``problem`` puts them together over chunks of samples and leading axes. A two-layer perceptron under
``methods.Joint`` and :func:`~warmflow.dynamics.run_method` is then the warm-started algorithm on a
network; ``problem.to(xp=numpy)`` is the same problem for SciPy and for :mod:`warmflow.analysis`.

torch is imported when a problem is made, never before.
"""

from __future__ import annotations

from .problem import TorchProblem

__all__ = ["TorchProblem"]
