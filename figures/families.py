"""Families of methods: one colour for each, one marker and line for each of its members."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

from . import style

__all__ = ["FAMILIES", "Look", "family_of", "looks", "variant_of"]

FAMILIES: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "solved adjoint": ("blue", ("exact", "joint", "conjugate_gradient", "neumann", "maid")),
    "tracked adjoint": ("sky", ("soba", "borep", "bsvrb")),
    "unrolled": (
        "green",
        ("reverse_mode", "forward_mode", "real_time_forward", "truncated_reverse", "self_tuning"),
    ),
    "one step": ("orange", ("one_step", "learning_to_reweight", "meta_weight_net")),
    "value gap": ("vermillion", ("f2sa", "scalebio", "lvhba")),
    "penalty": ("purple", ("penalty", "augmented_lagrangian")),
    "other": ("black", ()),
}
"""Colour and members of each family, by what replaces the inverse Hessian in the weight field."""

_MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*", "p", "h")
_PLAIN: Final = "plain"
_LINES: Final[tuple[Any, ...]] = ("-", "--", "-.", (0, (1, 1)), (0, (5, 1, 1, 1, 1, 1)))


@dataclass(frozen=True)
class Look:
    """How one entry is drawn.

    Attributes
    ----------
    family, colour, marker : str
    line : str or tuple
        Line style.
    """

    family: str
    colour: str
    marker: str
    line: Any


def family_of(entry: str) -> str:
    """Return the family of an entry by the name of its method, which stands first in its own."""
    found = re.match(r"[a-z0-9_]+", entry)
    name = found[0] if found else ""
    for family, (_, members) in FAMILIES.items():
        if name in members:
            return family
    return "other"


def variant_of(entry: str) -> str:
    """Return what stands after the method in the name of an entry, "plain" for nothing."""
    return entry.partition("+")[2] or _PLAIN


def looks(entries: Iterable[str], by: Literal["family", "method"] = "family") -> dict[str, Look]:
    """Return the look of each entry.

    With ``by="family"`` a colour is a family, in the order of `FAMILIES`. With ``by="method"`` all
    variants of a method are a family, and a look is what was done to it, plain in black.
    """
    names = list(entries)
    return _by_method(names) if by == "method" else _by_family(names)


def _by_family(names: list[str]) -> dict[str, Look]:
    found: dict[str, Look] = {}
    for family, (colour, _) in FAMILIES.items():
        members = [name for name in names if family_of(name) == family]
        for k, name in enumerate(members):
            marker, line = _MARKERS[k % len(_MARKERS)], _LINES[k % len(_LINES)]
            found[name] = Look(family, style.COLOURS[colour], marker, line)
    return found


def _by_method(names: list[str]) -> dict[str, Look]:
    variants = [v for v in dict.fromkeys(map(variant_of, names)) if v != _PLAIN]
    own = {_PLAIN: (style.COLOURS["black"], "o", "-")}
    colours = [colour for colour in style.CYCLE if colour != style.COLOURS["black"]]
    for k, variant in enumerate(variants):
        line = _LINES[(k // len(colours)) % len(_LINES)]
        own[variant] = (colours[k % len(colours)], _MARKERS[(k + 1) % len(_MARKERS)], line)
    return {name: Look(name.partition("+")[0], *own[variant_of(name)]) for name in names}
