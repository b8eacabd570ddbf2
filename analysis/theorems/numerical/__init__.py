"""T1 to T12, I1 to I5, M1 to M8: measured numbers against bounds.

Modules with a statement each, and what they share: plain formulas under an explicit integrator
(``reference``), rational arithmetic (``rationals``), linear and quadratic programs
(``ridge_programs``), limits of fast weights of every method (``fast_weights``, ``method_cases``,
``plain_fields``), linearisations at rest points (``linearised``) and runs on both sides of a
limit (``orbits``, ``learning_rate_runs``).
"""
