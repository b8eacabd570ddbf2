"""Faults planted in the kernels: the fibers find each of them, and nothing in the clean source."""

import numpy as np
import pytest

from warmflow.dynamics.sweeps.cuda import Choice
from warmflow.dynamics.sweeps.cuda.source import read_source

from ..cases import two_clusters
from .emulator import Emulator, KernelError, needs_compiler
from .runs import run

pytestmark = needs_compiler

FORMS = Choice("march", 32, 1, ""), Choice("march", 64, 1, ""), Choice("slices", 64, 3, "")
RATES = {"alpha": [0.05], "beta": [0.01, 8.0], "num_steps": 12, "save_steps": (3, 12)}
ROUNDS = 10**5


@pytest.fixture(scope="module")
def truths(folder) -> list[dict[str, np.ndarray]]:
    return [run(Emulator(folder), two_clusters(149, 2), **RATES, choice=form) for form in FORMS]


def complaints(folder, patch, truths) -> set[str]:
    """Return what is wrong with patched kernels: seen forwards, backwards, or against the truth."""
    q, found = two_clusters(149, 2), set()
    for choice, truth in zip(FORMS, truths, strict=True):
        tables = []
        for backwards in (False, True):
            device = Emulator(folder, backwards=backwards, patch=patch, limit=ROUNDS)
            try:
                tables.append(run(device, q, **RATES, choice=choice))
            except KernelError as error:
                found.add(str(error).split(": ")[-1])
        for table in tables:
            if not all(np.allclose(table[k], truth[k], 1e-9, 1e-11) for k in truth):
                found.add("wrong")
        if len(tables) == 2 and any((tables[0][k] != tables[1][k]).any() for k in truth):
            found.add("order")
    return found


def swap(old: str, new: str, count: int = 1):
    """Return a patch that replaces a text which occurs exactly so often."""

    def patch(source: str) -> str:
        assert source.count(old) == count, old
        return source.replace(old, new)

    return patch


def test_the_clean_source_is_clean(folder, truths) -> None:
    assert complaints(folder, lambda source: source, truths) == set()


PLANTED = {
    "no barrier before the warps are combined": (
        swap("parts + warp * PARTS);\n  __syncthreads();", "parts + warp * PARTS);"),
        "order",
    ),
    "no barrier after the move": (
        swap("    __syncthreads();\n    if (cell.verdict", "    if (cell.verdict"),
        "wrong",
    ),
    "no barrier after loading": (
        swap(
            "      cell.verdict = 0;\n    }\n  }\n  __syncthreads();", "      cell.verdict = 0; } }"
        ),
        "order",
    ),
    "lanes that read v before it is there": (
        swap("cell.v[a] = v[a];\n  __syncwarp(ALL);", "cell.v[a] = v[a];"),
        "order",
    ),
    "lanes that read sums before they are there": (
        swap("    total[1] = top.tail;\n  }\n  __syncwarp(ALL);", "    total[1] = top.tail; }"),
        "order",
    ),
    "all warps write one place": (
        swap(
            "reduce_warp(sums, is_near, parts + warp * PARTS)", "reduce_warp(sums, is_near, parts)"
        ),
        "wrong",
    ),
    "half a warp in the mask": (
        swap("__shfl_xor_sync(ALL, is_upper", "__shfl_xor_sync(0x0000ffffu, is_upper"),
        "bad shuffle",
    ),
    "a width of 16": (
        swap("lower : upper, OFFSET)", "lower : upper, OFFSET, 16)"),
        "bad shuffle",
    ),
    "one round too few in a sum over lanes": (
        swap("struct Fold<COUNT, 0>", "struct Fold<COUNT, 1>"),
        "wrong",
    ),
    "a shuffle that half of the lanes skip": (
        swap(
            "  size = share_size(size);\n  int verdict",
            "  if (lane < 16) size = share_size(size);\n  int verdict",
        ),
        "deadlock",
    ),
    "a barrier for one warp alone": (
        swap("if (warp == 0) combine", "if (warp == 0) __syncthreads(), combine"),
        "deadlock",
    ),
    "a row too few": (swap("i < last;", "i < last - 1;", 2), "wrong"),
    "a slice that ends too early": (
        swap("end = first + size < n ? first + size : n", "end = first + n / (int)gridDim.y", 2),
        "wrong",
    ),
    "a reference that does not follow": (swap("      sums.top = logit;\n", ""), "wrong"),
    "sums that keep their old reference": (swap("      rescale(sums, exp(-gap));\n", ""), "wrong"),
    "a cell that moves before it is judged": (
        swap("  if (verdict == 0) {\n", "  {\n"),
        None,
    ),
    "no end": (swap("    ++step;\n", ""), "too long"),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_found(fault: str, folder, truths) -> None:
    patch, kind = PLANTED[fault]
    assert patch(read_source()) != read_source()
    if kind is not None:
        assert kind in complaints(folder, patch, truths)
        return
    q, rates = two_clusters(), {"alpha": [30.0], "beta": [0.1], "num_steps": 20}
    clean, bad = run(Emulator(folder), q, **rates), run(Emulator(folder, patch=patch), q, **rates)
    assert np.abs(bad["theta"]).max() > 1e12 > np.abs(clean["theta"]).max()
