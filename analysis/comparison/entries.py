"""What is compared: methods, what mitigates their sparsity, and the names of both."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from ...dynamics import geometries, methods
from ...dynamics.geometries import Geometry
from ...dynamics.methods import Method
from ...dynamics.nesting import has_knob

__all__ = [
    "ALIASES",
    "MITIGATIONS",
    "Entry",
    "check_entries",
    "method_names",
    "mitigation_names",
    "standard_entries",
]

STRENGTH = 0.1
"""Of penalties, in units of the loss."""
SHARE = 0.1
"""Of uniform weights in the mixture, and of the floor in the uniform weight."""
MEMORY = 0.9
"""Of the moving average of the weights."""
NUM_INNER_STEPS = 5
PERIOD = 10
"""Steps from one solve of the inner problem to the next."""


@dataclass(frozen=True)
class Entry:
    """One row of a comparison.

    Parameters
    ----------
    method : Method
        Its outer step is set by the ratio R where ``is_scaled``.
    geometry : Geometry, optional
        The method's own when left out.
    is_scaled : bool
        False runs the method with its own outer step, whatever R.
    label : str, optional
        For people; the name of the entry when left out.
    """

    method: Method
    geometry: Geometry | None = None
    is_scaled: bool = True
    label: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.method, Method):
            raise TypeError(f"`method` must be a method such as Joint(); got {self.method!r}.")
        if self.geometry is not None and not isinstance(self.geometry, Geometry):
            raise TypeError(
                f"`geometry` must be a geometry such as Mirror(); got {self.geometry!r}."
            )
        if self.is_scaled and not has_knob(self.method, "eta"):
            raise ValueError(
                f"`is_scaled` must be False for {type(self.method).__name__}, which has no `eta`."
            )


ALIASES = {
    "l2r": "learning_to_reweight",
    "mwnet": "meta_weight_net",
    "krmd": "truncated_reverse",
    "stn": "self_tuning",
    "cg": "conjugate_gradient",
    "auglag": "augmented_lagrangian",
    "rtho": "real_time_forward",
    "reverse": "reverse_mode",
    "forward": "forward_mode",
    "onestep": "one_step",
    "scale_bio": "scalebio",
}
"""Short names of methods."""

UNSCALED = (methods.LearningToReweight, methods.MetaWeightNet)
"""Methods without an outer step, or with one of another kind."""

MITIGATIONS: dict[str, Callable[[Entry], Entry]] = {
    "none": lambda entry: entry,
    "entropy": lambda entry: wrapped(entry, lambda g: geometries.Penalised(STRENGTH, inner=g)),
    "l2": lambda entry: wrapped(entry, lambda g: geometries.Penalised(l2=STRENGTH, inner=g)),
    "mixed": lambda entry: wrapped(entry, lambda g: geometries.Mixed(SHARE, g)),
    "floored": lambda entry: wrapped(entry, lambda g: geometries.Floored(SHARE, g)),
    "averaged": lambda entry: wrapped(entry, lambda g: geometries.Averaged(MEMORY, g)),
    "inner_steps": lambda entry: looped(entry, num_inner_steps=NUM_INNER_STEPS),
    "momentum": lambda entry: looped(entry, num_inner_steps=1, optimiser="momentum"),
    "resolved": lambda entry: looped(entry, num_inner_steps=1, resolve_every=PERIOD),
}
"""What each mitigation makes of an entry; ``ValueError`` where the two do not go together."""


def method_names() -> tuple[str, ...]:
    """Return the names of all methods: their classes in snake case, such as ``meta_weight_net``."""
    return tuple(_classes())


def mitigation_names() -> tuple[str, ...]:
    """Return the names of all mitigations, ``none`` first."""
    return tuple(MITIGATIONS)


def standard_entries(
    names: Sequence[str] | None = None, mitigations: Sequence[str] = ("none",)
) -> dict[str, Entry]:
    """Return entries with default knobs, by name: ``joint``, ``joint+entropy``.

    Parameters
    ----------
    names : sequence of str, optional
        Of methods, or their aliases (``l2r``, ``mwnet``, ``krmd``, ``stn``, ``cg``, ...); all
        methods when left out.
    mitigations : sequence of str
        Each is joined with each method; pairs that do not go together are left out, as long as one
        method is left for each.

    Raises
    ------
    ValueError
        For unknown names, or a mitigation that goes with none of the methods.
    """
    chosen = list(dict.fromkeys(map(_canonical, method_names() if names is None else names)))
    entries: dict[str, Entry] = {}
    for mitigation in dict.fromkeys(mitigations):
        if mitigation not in MITIGATIONS:
            known = ", ".join(MITIGATIONS)
            raise ValueError(f"`mitigations` must be among {known}; got {mitigation!r}.")
        reasons = []
        for name in chosen:
            cls = _classes()[name]
            plain = Entry(cls(), is_scaled=not issubclass(cls, UNSCALED))
            try:
                entry = MITIGATIONS[mitigation](plain)
            except ValueError as error:
                reasons.append(str(error))
                continue
            entries[name if mitigation == "none" else f"{name}+{mitigation}"] = entry
        if len(reasons) == len(chosen) > 0:
            raise ValueError(f"`mitigations` {mitigation!r} goes with no method: {reasons[0]}")
    return entries


def wrapped(entry: Entry, wrap: Callable[[Geometry], Geometry]) -> Entry:
    """Return the entry with a layer around its geometry.

    Raises
    ------
    ValueError
        Where the method cannot be joined with it.
    """
    kinds = entry.method.geometries
    inner = entry.geometry or (kinds[0]() if kinds else geometries.Mirror())
    geometry = wrap(inner)
    entry.method.check_geometry(geometry)
    return replace(entry, geometry=geometry)


def looped(entry: Entry, **knobs: Any) -> Entry:
    """Return the entry with another inner loop.

    Raises
    ------
    ValueError
        Where the method has no inner steps to change.
    """
    return replace(entry, method=methods.InnerLoop(method=entry.method, **knobs))


def check_entries(entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """Return checked entries by name.

    Raises
    ------
    ValueError, TypeError
        For none, for what is no entry, and for names that could not be those of files.
    """
    if not isinstance(entries, Mapping):
        raise TypeError(f"`entries` must map names to Entry(...); got {type(entries).__name__}.")
    if not entries:
        raise ValueError("`entries` must hold at least one Entry; got none.")
    for name, entry in entries.items():
        if not isinstance(entry, Entry):
            raise TypeError(f"`entries[{name!r}]` must be an Entry; got {entry!r}.")
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_+.=-]*", name):
            raise ValueError(
                f"`entries` must have names of letters, digits, and _ + . = -; got {name!r}."
            )
    return dict(entries)


def _classes() -> dict[str, type[Method]]:
    """Return the methods by name."""
    found = {}
    for name in sorted(methods.__all__, key=str.lower):
        cls = getattr(methods, name)
        if isinstance(cls, type) and issubclass(cls, Method) and _stands_alone(cls):
            found[_snake(name)] = cls
    return found


def _stands_alone(cls: type[Method]) -> bool:
    """Whether a class is a whole method: neither abstract nor around another one."""
    return not cls.__abstractmethods__ and "method" not in {f.name for f in fields(cls)}


def _snake(name: str) -> str:
    """Return ``MetaWeightNet`` as ``meta_weight_net``, ``MAID`` as ``maid``."""
    name = name.replace("BiO", "bio")
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def _canonical(name: str) -> str:
    """Return the name of a method from a name or an alias."""
    lower = str(name).strip().lower().replace("-", "_")
    found = ALIASES.get(lower, lower)
    if found not in _classes():
        known = ", ".join([*_classes(), *ALIASES])
        raise ValueError(f"`names` must be among {known}; got {name!r}.")
    return found
