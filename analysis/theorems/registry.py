"""Every statement by name, and the function that verifies it."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from .certificate import Statement

__all__ = ["NAMES", "find", "missing_library", "statement"]

_STATEMENTS = {
    "T1": "numerical.hypergradient:hypergradient",
    "I1": "numerical.hypergradient:exact_rationals",
    "I2": "numerical.hypergradient:homogeneity",
    "I3": "numerical.hypergradient:softmax_weights",
    "I4": "numerical.identities:not_a_gradient",
    "I5": "numerical.identities:midpoint",
    "T2": "numerical.discretisation:euler",
    "T3": "numerical.slow_weights:recovery",
    "T3b": "numerical.slow_weights:slow_manifold",
    "T4": "numerical.frozen:reduction",
    "T5": "numerical.sparsity:frozen_support",
    "T5b": "numerical.facet:facet",
    "T6": "numerical.dichotomy:dichotomy",
    "T6b'": "numerical.depth:depth",
    "T7": "numerical.stability:spectra",
    "T7b": "numerical.oscillators:oscillators",
    "T7c": "numerical.learning_rates:learning_rate_band",
    "T8": "numerical.quadratic:reduction",
    "T10": "numerical.importance:importance_weights",
    "T12": "numerical.entropy:entropy_penalty",
    "M1": "numerical.method_supports:supports",
    "M2": "numerical.one_sample:one_sample",
    "M3": "numerical.unrolled_supports:unrolled_supports",
    "M4": "numerical.penalty_programs:penalty_programs",
    "M5": "numerical.penalised_supports:penalised_supports",
    "M6": "numerical.memoryless:memoryless",
    "M7": "numerical.adapted_theta:adapted_theta",
    "M8": "numerical.mitigated_supports:mitigated_supports",
    "S1": "symbolic.hypergradient:ridge_hypergradient",
    "S2": "symbolic.metric:inverse_entropy_hessian",
    "S3": "symbolic.jacobian:jacobian_blocks",
    "S4": "symbolic.quadratic:quadratic_coefficients",
    "S5": "symbolic.multiplier:lagrange_multiplier",
    "R1": "rigorous:attracting_rest_point",
    "R2": "rigorous:no_denser_rest_point",
}
_LIBRARIES = {"rigorous": ("flint", "python-flint", "certify")}

NAMES = tuple(_STATEMENTS)
"""Names of all statements, in the order of the report."""


def statement(name: str) -> Statement:
    """Return a statement by its name: a function ``f(quick=True) -> Certificate``.

    Raises
    ------
    ValueError
        When there is none of this name; case and the prime do not matter.
    """
    module, function = _STATEMENTS[find(name)].split(":")
    found: Statement = getattr(import_module(f".{module}", __package__), function)
    return found


def missing_library(name: str) -> str | None:
    """Return how to install what a statement needs and this environment lacks, else None."""
    needs = _LIBRARIES.get(_STATEMENTS[name].split(":")[0])
    if needs is None or find_spec(needs[0]) is not None:
        return None
    return f"needs {needs[1]}: pip install 'warmflow[{needs[2]}]'"


def find(name: str, argument: str = "name") -> str:
    """Return the statement meant by ``name``; case and the prime do not matter.

    ``argument`` is what the error calls it.

    Raises
    ------
    ValueError
        When there is none.
    """

    def key(text: str) -> str:
        return "".join(c for c in text if c.isalnum()).casefold()

    for known in NAMES:
        if key(known) == key(str(name)):
            return known
    raise ValueError(f"`{argument}` must be among {', '.join(NAMES)}; got {name!r}.")
