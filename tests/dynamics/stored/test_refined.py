"""A refined sweep in a folder is the one in memory, whatever happens on the way."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from warmflow.dynamics import Refinement, sweep, weights
from warmflow.dynamics.storage.marks import Marks
from warmflow.dynamics.sweeps.stored import Mismatch, refined

from ._grids import assert_same, read, toy

COMMON: dict[str, Any] = {
    "alpha": np.geomspace(1e-3, 0.1, 4), "beta": np.geomspace(1e-2, 10.0, 5), "num_steps": 40,
    "refine": 60,
}  # fmt: skip


def test_cells_are_those_of_single_sweeps() -> None:
    ds = sweep(toy(), **COMMON)
    assert ds.sizes["cell"] <= 60
    assert (ds["level"].values[:20] == 0).all()
    pairs = {(a, b) for a, b in zip(ds["alpha"].values, ds["beta"].values, strict=True)}
    assert len(pairs) == ds.sizes["cell"]
    for k in (0, 25, ds.sizes["cell"] - 1):
        cell = ds.isel(cell=k)
        rates = {"alpha": float(cell["alpha"]), "beta": float(cell["beta"])}
        alone = sweep(toy(), num_steps=40, **rates)
        for name in ("theta", "ess", "val_loss", "status", "U"):
            np.testing.assert_array_equal(cell[name], alone[name].squeeze(), err_msg=name)
        w = weights(ds, toy(), **rates)
        assert 1 / np.sum(w**2) == pytest.approx(float(cell["ess"]), rel=1e-9)
    with pytest.raises(ValueError, match="must be those of a cell of the refined sweep"):
        weights(ds, toy(), alpha=0.5, beta=0.5)


def test_the_boundary_lies_on_its_level() -> None:
    """Within 3 %: so far the effective sample size changes between the cells beside the curve."""
    ds = sweep(toy(), **COMMON | {"refine": Refinement(num_cells=80, level=15.0)})
    ends = ds["boundary"].values.reshape(-1, 2)
    assert len(ends) > 10
    for alpha, beta in ends[::4]:
        here = sweep(toy(), alpha=[alpha], beta=[beta], num_steps=40)["ess"].item()
        assert here == pytest.approx(15.0, rel=0.03)


@pytest.mark.parametrize("executor", [None, "processes"])
def test_stored_is_in_memory_bit_for_bit(tmp_path: Path, executor: str | None) -> None:
    wanted = sweep(toy(), save_steps=20, **COMMON)
    assert_same(sweep(toy(), store=tmp_path, executor=executor, save_steps=20, **COMMON), wanted)
    assert_same(read(tmp_path), wanted)


def test_interrupted_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One run after the other is stopped at its third piece."""
    wanted = sweep(toy(), **COMMON)
    compute = refined.compute
    runs = 0
    while runs < 100:
        runs += 1
        calls = 0

        def stopping(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == 4:  # the first is that of the layout, in a new folder
                raise KeyboardInterrupt
            return compute(*args, **kwargs)

        monkeypatch.setattr(refined, "compute", stopping)
        try:
            ds = sweep(toy(), store=tmp_path, resume=True, **COMMON)
        except KeyboardInterrupt:
            continue
        break
    assert 4 < runs < 100
    assert_same(ds, wanted)


def test_damage_and_other_specifications(tmp_path: Path) -> None:
    wanted = sweep(toy(), store=tmp_path, **COMMON)
    for k, path in enumerate(sorted((tmp_path / "units").glob("*.npz"))):
        if k % 3 == 0:
            path.write_bytes(path.read_bytes()[:-10])
        elif k % 3 == 1:
            path.unlink()
    (tmp_path / "sweep.zarr" / "alpha" / "zarr.json").unlink()
    assert_same(sweep(toy(), store=tmp_path, resume=True, **COMMON), wanted)
    for change, words in (
        ({"refine": 61}, "`num_cells` was 60, now 61"),
        ({"num_steps": 41}, "`num_steps` was 40, now 41"),
        ({"refine": None}, "was started with another specification"),
    ):
        with pytest.raises(Mismatch, match=words):
            sweep(toy(), store=tmp_path, resume=True, **COMMON | change)


def test_a_piece_of_another_choice_is_not_taken(tmp_path: Path) -> None:
    """It is whole in itself, but its cells have other rates."""
    wanted = sweep(toy(), store=tmp_path, **COMMON)
    units = tmp_path / "units"
    for suffix in ("npz", "json"):
        content = (units / f"000-000.{suffix}").read_bytes()
        assert content != (units / f"000-001.{suffix}").read_bytes()
        (units / f"000-001.{suffix}").write_bytes(content.replace(b"000-000", b"000-001"))
    marks = Marks(units, tmp_path)
    assert marks.whole("000-000")["rates"] == marks.whole("000-001")["rates"]
    assert_same(sweep(toy(), store=tmp_path, resume=True, **COMMON), wanted)


def test_failing_pieces_end_the_choices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compute, calls = refined.compute, 0

    def failing(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 12:
            raise FloatingPointError("planted")
        return compute(*args, **kwargs)

    monkeypatch.setattr(refined, "compute", failing)
    with pytest.warns(UserWarning, match="1 chunks failed: batch .*planted"):
        ds = sweep(toy(), store=tmp_path, **COMMON)
    assert 0 < ds.sizes["cell"] < 60
    monkeypatch.undo()
    assert_same(sweep(toy(), store=tmp_path, resume=True, **COMMON), sweep(toy(), **COMMON))


def test_progress_ends_at_one(tmp_path: Path) -> None:
    for store in (None, tmp_path):
        shares: list[float] = []
        sweep(toy(), store=store, progress=shares.append, **COMMON)
        assert shares == sorted(shares)
        assert shares[-1] == 1.0


WRONG = [
    ({"refine": 3}, "`refine` must leave room for the 4 x 5 cells"),
    ({"refine": 1}, "`refine` must be"),
    ({"refine": 50, "alpha": [0.0, 1.0]}, "`alpha`"),
    ({"refine": 50, "axes": {"ridge": [0.1]}}, "`refine` goes with alpha and beta alone"),
]


@pytest.mark.parametrize(("change", "words"), WRONG, ids=range(len(WRONG)))
def test_wrong_refinements(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        sweep(toy(), **COMMON | change)
