"""The items, in the order of the report. One file each in `items/`, imported when asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import UserError

if TYPE_CHECKING:
    from .item import Item

__all__ = ["EXTRA", "NAMES", "STANDARD", "load_item", "load_items"]

STANDARD = ("toy", "phase_diagram", "digits_cleaning")
"""What ``warmflow reproduce`` runs unless items are named."""

EXTRA = (
    "nets_cleaning", "nets_imbalance", "nets_width", "nets_linearised", "simplex_penalties",
    "net_penalties", "inner_steps", "speed_sparsity", "good_band", "distribution_shift",
    "recommendation", "all_methods", "mitigations",
)  # fmt: skip
"""Beyond the paper, run by name."""

NAMES = (*STANDARD, *EXTRA)


def load_item(name: str) -> Item[Any]:
    """Import the item called `name`."""
    if name not in NAMES:
        raise UserError(f"--only {name}: no such item; the items are {', '.join(NAMES)}")
    item: Item[Any] = import_module(f".items.{name}", __package__).ITEM
    return item


def load_items(names: list[str] | None = None) -> list[Item[Any]]:
    """Import the named items, or all, in the order of the report and each once."""
    for name in names or ():
        if name not in NAMES:
            load_item(name)
    return [load_item(name) for name in NAMES if not names or name in names]
