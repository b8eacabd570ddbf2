"""What is claimed about the good band of rates, and what is assumed."""

from __future__ import annotations

from typing import Any

from ..claims import Claim
from ..item import Assumed
from ._good_band_cases import timed

__all__ = ["ASSUMED", "CLAIMS", "PREDICTIONS"]

PREDICTIONS = {
    "low_flow": ("low", "low_flow"),
    "low_linear": ("low", "low_linear"),
    "high_end": ("high", "limit_end"),
    "high_start": ("high", "limit_start"),
    "high_turn": ("high", "turn"),
    "settled_end": ("settled", "limit_end"),
    "collapse_end": ("kept", "limit_end"),
    "collapse_turn": ("kept", "turn"),
    "collapse_ratio": ("kept", "ratio_one"),
}
_MEANINGS = {
    "low_flow": "lower end, against the time of the exact flow to a good risk over K",
    "low_linear": "lower end, against that time of the flow linearised at its end",
    "high_end": "upper end, against the limit of T7c at the end of the exact flow",
    "high_start": "upper end, against the limit of T7c at the start",
    "high_turn": "upper end, against 2/kappa_max at the start",
    "settled_end": "upper end of settled runs, against the limit of T7c at the end",
    "collapse_end": "collapse of the ESS, against the limit of T7c at the end",
    "collapse_turn": "collapse of the ESS, against 2/kappa_max at the start",
    "collapse_ratio": "collapse of the ESS, against the outer step with R = 1",
}
_WORDS = {
    "rho0.1": "inner steps of 0.1/L",
    "rho4": "inner steps of 4/L",
    "theta-first": "theta first",
    "T10": "ten inner steps",
    "exact": "exact method",
    "soba": "SOBA",
    "one-step": "one step",
    "entropy0.1": "entropy penalty 0.1 sd(Psi)",
    "implicit0.1": "the same penalty, implicit steps",
    "base": "simultaneous, n = 200, p = 5, noise 0.3",
}
_NARROW = {"says": "the range of good learning rates is very narrow", "where": "known in words"}
_T7C: dict[str, Any] = {"where": "theory T7c"}


def _widths() -> list[Claim]:
    claims = []
    for case in timed():
        name, words = case.replace("-", "_"), _WORDS.get(case, case)
        narrow: dict[str, Any] = {**_NARROW, "high": 1.0} if case == "base" else {}
        claims += [
            Claim(number=f"width_{name}", meaning=f"decades of good eta: {words}", **narrow),
            Claim(number=f"kept_{name}", meaning=f"the same, with ESS above n/20: {words}"),
        ]
    return claims


def _predictions() -> list[Claim]:
    bounds: dict[str, dict[str, Any]] = {
        "low_flow_median": {"says": "slow weights follow the exact flow", "where": "theory T3",
                            "low": -0.1, "high": 0.1},
        "high_end_median": {"says": "eta kappa at the solved point decides", **_T7C,
                            "low": -0.3, "high": 0.3},
    }  # fmt: skip
    claims = []
    for name, words in _MEANINGS.items():
        for kind, text in (("median", "median over cases of log10(measured/predicted)"),
                           ("spread", "its spread over cases and draws, decades")):  # fmt: skip
            number = f"{name}_{kind}"
            meaning = f"{words}: {text}"
            claims.append(Claim(number=number, meaning=meaning, **bounds.get(number, {})))
    return claims


CLAIMS = (
    *_widths(),
    *(Claim(number=f"risk_{case}", meaning=f"best test risk over that of the base case: "
            f"{_WORDS[case]}") for case in ("rho0.1", "soba", "entropy0.1", "implicit0.1")),
    Claim(number="growth", meaning="decades of width gained in a decade of K (100 to 300), base "
          "and exact", says="the lower end falls like 1/K, the upper end stays", low=0.7, high=1.3,
          where="theory T3 and T7c"),
    *_predictions(),
    *(Claim(number=case.replace("-", "_"), meaning="runs that start beside the solved point: log10 "
            f"of where they leave it, over the limit of T7c ({words})",
            says="the point is stable below the limit and not above", low=-0.1, high=0.1, **_T7C)
      for case, words in (("held", "simultaneous"), ("held-theta-first", "theta first"),
                          ("held-T10", "ten inner steps"), ("held-exact", "exact"))),
    Claim(number="fastest", meaning="largest spectral radius of its own step where a run has come "
          "to rest", says="it is at most 1", high=1.0 + 1e-6, **_T7C),
    *(Claim(number=f"{case}_{kind}",
            meaning=f"upper end after 100 steps with a small eta, {words}: {text}")
      for case, words in (("warmup", "simultaneous"), ("warmup_exact", "exact method"))
      for kind, text in (("gain", "log10 of its growth"),
                         ("end", "log10 of it over the limit of T7c at the end"))),
)  # fmt: skip

ASSUMED = (
    Assumed(name="good", choice="test risk of theta within 10 % (and 0.001) of the best of the "
            "case over all rates and budgets, at its worst in the last tenth of the steps",
            reason="the paper does not define the range of good rates"),
    Assumed(name="budget", choice="300 steps of the weights (growth: 100 to 300; full: to 3000)",
            reason="steps, not oracle calls: ten inner steps cost more"),
    Assumed(name="rates", choice="rho = 1/L with the bound L on the curvature; eta from 1e-4 to "
            "100, five in a decade", reason="spans both ends"),
    Assumed(name="units", choice="eta of the one-step method in units of 1/rho",
            reason="its field is shorter by rho"),
)  # fmt: skip
