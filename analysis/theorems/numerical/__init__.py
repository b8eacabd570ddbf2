"""T1 to T12 and I1 to I5: measured numbers against bounds.

Modules with a statement each, and what they share: plain formulas under an explicit integrator
(``reference``), rational arithmetic (``rationals``), linear and quadratic programs
(``ridge_programs``), linearisations at rest points (``linearised``) and runs on both sides of a
limit (``orbits``, ``learning_rate_runs``).
"""
