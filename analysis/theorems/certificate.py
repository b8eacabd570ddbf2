"""What a verification returns: checks of measured numbers against bounds, gathered per statement.

A measurement ``f(quick)`` returns :class:`Evidence`; :func:`certifies` makes it a
:class:`Statement`, which returns a :class:`Certificate`, also when the measurement raises: that is
a failed certificate, never a crash of the whole report.
"""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import update_wrapper
from typing import Any

from ...dynamics.plain import plain

__all__ = [
    "Certificate",
    "Check",
    "Evidence",
    "at_least",
    "at_most",
    "certifies",
    "exactly",
    "failed",
]


@dataclass(frozen=True)
class Check:
    """One measured number against its bound.

    Attributes
    ----------
    what : str
        What was measured, and how.
    observed : float
    relation : {"<=", ">=", "=="}
    bound : float
    why : str
        Where the bound comes from.
    """

    what: str
    observed: float
    relation: str
    bound: float
    why: str = ""

    @property
    def margin(self) -> float:
        """Distance to the bound in units of its size (in plain units where it is 0); < 0 fails."""
        if math.isnan(self.observed) or math.isnan(self.bound):
            return -math.inf
        if self.observed == self.bound:
            return 0.0
        distance = self.bound - self.observed if self.relation == "<=" else 0.0
        if self.relation == ">=":
            distance = self.observed - self.bound
        elif self.relation == "==":
            distance = -abs(self.observed - self.bound)
        return distance / (abs(self.bound) or 1.0)

    @property
    def passed(self) -> bool:
        """Whether the bound holds; a NaN never passes."""
        return self.margin >= 0.0


def at_most(what: str, observed: Any, bound: float, why: str = "") -> Check:
    """Return the check ``observed <= bound``."""
    return Check(what, float(observed), "<=", float(bound), why)


def at_least(what: str, observed: Any, bound: float, why: str = "") -> Check:
    """Return the check ``observed >= bound``."""
    return Check(what, float(observed), ">=", float(bound), why)


def exactly(what: str, observed: Any, expected: float, why: str = "") -> Check:
    """Return the check of a count ``observed == expected``."""
    return Check(what, float(observed), "==", float(expected), why)


@dataclass(frozen=True)
class Evidence:
    """What a verification measured.

    Attributes
    ----------
    checks : list of Check
        The most telling one first: it heads the certificate when all of them pass.
    data : dict
        Numbers and arrays behind the checks, for figures and for the record.
    """

    checks: list[Check]
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Certificate:
    """The outcome of one verification.

    Attributes
    ----------
    name : str
        ``"T5b"``, ``"I3"``, ...
    statement : str
        What is claimed, as mathematics in words and LaTeX.
    assumptions : tuple of str
        What the claim needs; the measured problems satisfy it.
    observed, bound, margin : float
        Of the worst check that fails, else of the first check. The margin is the distance to the
        bound in units of its size; it is negative exactly when the certificate fails.
    passed : bool
        Whether every check holds.
    details : dict
        ``kind`` ("numerical", "symbolic" or "rigorous"), ``verdict`` (in words), ``title``,
        ``checks`` (all of them), ``data`` (arrays and numbers; `to_dict` makes them JSON),
        ``seconds``, and ``error`` where a computation raised.
    """

    name: str
    statement: str
    assumptions: tuple[str, ...]
    observed: float
    bound: float
    margin: float
    passed: bool
    details: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def verdict(self) -> str:
        """The outcome in words: holds, fails, proved, not proved, error."""
        return str(self.details["verdict"])

    def to_dict(self) -> dict[str, Any]:
        """Return the certificate in JSON types; NaN and infinities become None."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        document = plain(fields, strict=True)
        assert isinstance(document, dict), "a mapping stays a mapping"
        return document

    def __str__(self) -> str:
        lines = [f"{self.name} {self.verdict}: {self.details.get('title', '')}"]
        for check in self.details.get("checks", ()):
            mark = "ok  " if check["passed"] else "FAIL"
            numbers = f"{check['observed']:.4g} {check['relation']} {check['bound']:.4g}"
            lines.append(f"  {mark} {check['what']}: {numbers}")
        if "error" in self.details:
            lines.append(f"  {self.details['error'].strip().splitlines()[-1]}")
        return "\n".join(lines)


VERDICTS = {
    "numerical": ("holds", "fails"),
    "symbolic": ("proved", "not proved"),
    "rigorous": ("proved", "not proved"),
}
"""Words for passed and failed: a proof that does not go through disproves nothing."""


class Statement:
    """A statement with the measurement that verifies it: ``f(quick=True) -> Certificate``.

    Attributes
    ----------
    name, title, text : str
        ``"T3"``, a few words, and the claim itself.
    assumptions : tuple of str
    kind : {"numerical", "symbolic", "rigorous"}
    """

    def __init__(
        self,
        measure: Callable[[bool], Evidence],
        name: str,
        title: str,
        text: str,
        assumptions: tuple[str, ...],
        kind: str,
    ) -> None:
        update_wrapper(self, measure)
        self._measure = measure
        self.name, self.title, self.text = name, title, text
        self.assumptions, self.kind = assumptions, kind

    def __call__(self, quick: bool = True) -> Certificate:
        """Verify the statement, on small instances or by the full study."""
        began = time.perf_counter()
        try:
            evidence = self._measure(quick)
            if not evidence.checks:
                raise AssertionError("nothing was checked")
        except Exception as error:
            found = failed(self.name, error, self)
        else:
            found = self._judge(evidence)
        found.details["seconds"] = time.perf_counter() - began
        return found

    def _judge(self, evidence: Evidence) -> Certificate:
        """Return the certificate that the evidence supports."""
        shown = min(evidence.checks, key=lambda check: check.margin)
        if shown.passed:
            shown = evidence.checks[0]
        details = {
            "kind": self.kind,
            "title": self.title,
            "verdict": VERDICTS[self.kind][0 if shown.passed else 1],
            "checks": [_entry(check) for check in evidence.checks],
            "data": evidence.data,
        }
        return Certificate(
            self.name, self.text, self.assumptions, shown.observed, shown.bound, shown.margin,
            shown.passed, details,
        )  # fmt: skip


def certifies(
    name: str,
    title: str,
    text: str,
    assumptions: tuple[str, ...] = (),
    kind: str = "numerical",
) -> Callable[[Callable[[bool], Evidence]], Statement]:
    """Turn a measurement ``f(quick) -> Evidence`` into a :class:`Statement`."""
    return lambda measure: Statement(measure, name, title, text, assumptions, kind)


def failed(name: str, error: BaseException, statement: Statement | None = None) -> Certificate:
    """Return the certificate of a statement whose verification raised."""
    nan = math.nan
    details = {
        "kind": "numerical" if statement is None else statement.kind,
        "title": "" if statement is None else statement.title,
        "verdict": "error",
        "checks": [],
        "data": {},
        "seconds": 0.0,
        "error": "".join(traceback.format_exception(error)),
    }
    text, assumptions = ("", ()) if statement is None else (statement.text, statement.assumptions)
    return Certificate(name, text, assumptions, nan, nan, -math.inf, False, details)


def _entry(check: Check) -> dict[str, Any]:
    return {**vars(check), "margin": check.margin, "passed": check.passed}
