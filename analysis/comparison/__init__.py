"""Methods side by side: equal budgets of oracle calls, equal R, draws, an independent test.

:mod:`.entries` says what is compared, :mod:`.rates` gives every method the outer step of a ratio R
of the speeds, :mod:`.runs` spends a budget, :mod:`.references` are the rows that need no method,
:mod:`.compare` stores one unit of work for each entry and draw and brings them together, and
:mod:`.summary` takes medians, worst draws, and the best R as the validation loss sees it.
"""

from __future__ import annotations

from .compare import compare
from .entries import Entry, method_names, mitigation_names, standard_entries
from .rates import eta_of_curvature, eta_of_ratio, inner_rate, ratio_of_method
from .references import REFERENCES
from .summary import summarise

__all__ = [
    "REFERENCES",
    "Entry",
    "compare",
    "eta_of_curvature",
    "eta_of_ratio",
    "inner_rate",
    "method_names",
    "mitigation_names",
    "ratio_of_method",
    "standard_entries",
    "summarise",
]
