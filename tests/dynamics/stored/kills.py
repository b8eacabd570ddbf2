"""Kill a sweep before and after each of its renames, resume it, and compare; run by a test.

Arguments: a folder, ``create``, ``extend`` or ``refine``, and which of how many shares to do.
Each run is a forked child that ends without any cleaning up, as by SIGKILL. Prints the renames.
"""

import os
import shutil
import sys
from pathlib import Path
from threading import Lock

import numba  # noqa: F401 (here, so that children need not)
import numpy as np
import threadpoolctl  # noqa: F401
import xarray
import zarr.storage  # noqa: F401

from warmflow.dynamics import LeastSquares, sweep

RNG = np.random.default_rng(0)
PROBLEM = LeastSquares(
    RNG.standard_normal((6, 1)), RNG.standard_normal(6), RNG.standard_normal((3, 1)),
    RNG.standard_normal(3), ridge=0.1,
)  # fmt: skip
SMALL, LARGE = [0.1, 0.2], [0.05, 0.2]  # together: one in front of the old ones
COMMON = {"beta": [0.1], "num_steps": 3, "backend": "numpy", "thresholds": (1e-3,)}


def count_renames(stop: int | None = None, when: str = "") -> list[str]:
    """Count renames (links are some) from now on; end the process at one of them, from 1."""
    names: list[str] = []
    lock = Lock()  # Zarr writes from other threads

    def wrap(act):
        def replaced(source, target, **kwargs):
            with lock:
                names.append(str(target))
                number = len(names)
            if number == stop and when == "before":
                os._exit(9)
            result = act(source, target, **kwargs)
            if number == stop:
                os._exit(9)
            return result

        return replaced

    os.replace, os.rename, os.link = map(wrap, (os.replace, os.rename, os.link))
    return names


def child(act) -> int:
    """Do something in a forked process; return its exit code."""
    pid = os.fork()
    if pid == 0:
        try:
            act()
        except BaseException as error:
            sys.stderr.write(f"{error!r}\n")
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def start(root: Path) -> None:
    sweep(PROBLEM, alpha=SMALL, store=root, resume=True, **COMMON)


def grow(root: Path) -> None:
    sweep(PROBLEM, alpha=LARGE, store=root, extend=True, **COMMON)


def check(root: Path, reference: Path) -> None:
    found, wanted = (
        xarray.open_zarr(path / "sweep.zarr", consolidated=False).load()
        for path in (root, reference)
    )
    assert {*found.variables} == {*wanted.variables}
    for name in wanted.variables:
        np.testing.assert_array_equal(found[name].values, wanted[name].values, err_msg=name)
        assert found[name].dtype == wanted[name].dtype


def main(folder: str, act: str, share: int, shares: int) -> None:
    run = {"create": start, "extend": grow}[act]
    reference = Path(folder) / f"reference-{act}-{share}"
    if act == "extend":
        started = Path(folder) / "started"
        assert child(lambda: start(started)) == 0
        shutil.copytree(started, reference)

    def count() -> None:
        names = count_renames()
        run(reference)
        reference.with_suffix(".txt").write_text("\n".join(names))

    assert child(count) == 0
    names = reference.with_suffix(".txt").read_text().split("\n")
    # Inside a hidden folder nothing counts: there one side is as good as the other, and Zarr's
    # own renames, whose order is not fixed, are all alike.
    hidden = [n for n, name in enumerate(names, 1) if "/." in name]
    seen = [n for n in range(1, len(names) + 1) if n not in hidden]
    kills = [(n, "before") for n in hidden[::4]]
    kills += [(n, when) for n in seen for when in ("before", "after")]
    for number, when in kills[share::shares]:
        kill(run, Path(folder) / f"{act}-{number}-{when}", number, when, reference)
    sys.stdout.write(f"{len(names)}\n")


def kill(run, root: Path, number: int, when: str, reference: Path) -> None:
    """Kill a sweep at one rename, resume it, and compare."""
    if run is grow:
        shutil.copytree(reference.parent / "started", root)

    def killed() -> None:
        count_renames(number, when)
        run(root)

    def resumed() -> None:
        run(root)
        check(root, reference)

    assert child(killed) == 9
    before = {path: path.read_bytes() for path in (root / "units").glob("*.json")}
    assert child(resumed) == 0, (number, when)
    if run is start:  # what was marked was not done again
        assert all(path.read_bytes() == content for path, content in before.items())
    shutil.rmtree(root)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
