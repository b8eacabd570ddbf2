"""Bringing the cells of a stored sweep over into an extended one."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..memory import fill_of
from .folder import SweepFolder
from .job import ends_of
from .layout import Layout

__all__ = ["bring_over"]


def bring_over(
    before: SweepFolder, built: SweepFolder, places: list[list[int]], order: list[list[int]]
) -> None:
    """Write the chunks of ``built`` with the cells that are whole in ``before``, and their marks.

    Parameters
    ----------
    places : list of list of int
        For each axis, where its old values lie on the new one.
    order : list of list of int
        For each axis, which of the old values they are.
    """
    old, new = before.layout, built.layout
    origin = np.full(tuple(new.axes.values()), -1)  # the old unit of each new cell
    source = np.zeros((*origin.shape, origin.ndim), dtype=int)
    whole = before.whole_units()
    units = _units(old)
    grid = np.meshgrid(*order, indexing="ij")
    origin[np.ix_(*places)] = units[tuple(grid)]
    source[np.ix_(*places)] = np.stack(grid, axis=-1)
    origin[~np.isin(origin, list(whole))] = -1
    tables: dict[int, dict[str, np.ndarray]] = {}
    for unit in range(new.num_units):
        region = new.region(unit)
        owners = origin[region].ravel()
        known = np.flatnonzero(owners >= 0)
        if known.size == 0:
            continue
        cells = source[region].reshape(owners.size, -1)
        needed = set(owners[known].tolist())
        tables = {k: table for k, table in tables.items() if k in needed}
        for k in needed - tables.keys():
            tables[k] = old.read(before.group, k)
        table = _gather(new, old, tables, owners, cells)
        outputs = new.write(built.group, unit, table)
        facts: dict[str, Any] = {"generation": built.generation, "cells": owners.size}
        facts |= {"computed": 0, **ends_of(table["status"])}
        if known.size < owners.size:
            facts |= {"is_partial": True, "known": known.tolist()}
        built.marks.finish(f"{unit:06d}", outputs, facts)


def _units(layout: Layout) -> np.ndarray:
    """Return the unit of each cell, over the axes."""
    units = np.empty(tuple(layout.axes.values()), dtype=int)
    for unit in range(layout.num_units):
        units[layout.region(unit)] = unit
    return units


def _gather(
    new: Layout,
    old: Layout,
    tables: dict[int, dict[str, np.ndarray]],
    owners: np.ndarray,
    cells: np.ndarray,
) -> dict[str, np.ndarray]:
    """Return the table ``(B, saves, ...)`` of a new unit; cells that are not known stay out."""
    table: dict[str, np.ndarray] = {}
    for k in tables:
        region = old.region(k)
        shape = tuple(s.stop - s.start for s in region)
        mine = np.flatnonzero(owners == k)
        local = cells[mine] - [s.start for s in region]
        rows = np.ravel_multi_index(tuple(local.T), shape)
        for name in new.variables.keys() & tables[k].keys():
            values = tables[k][name]
            if name not in table:
                table[name] = np.full(
                    (owners.size, *values.shape[1:]), fill_of(values.dtype), values.dtype
                )
            table[name][mine] = values[rows]
    return table
