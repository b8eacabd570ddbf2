"""``warmflow compare``: methods side by side, at equal budgets of oracle calls and equal R."""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ._options import (
    LogGrid,
    add_data_options,
    add_executor,
    add_out,
    check_executor,
    natural,
    resumed_command,
)

if TYPE_CHECKING:
    import xarray as xr

    from ...analysis.comparison import Entry
    from ...dynamics import Problem
    from ...dynamics.jobs import Pool
    from ..data import Recipe

__all__ = ["Draws", "add_arguments", "execute"]

OPTIONS = {
    "names": "--methods", "mitigations": "--mitigations", "entries": "--methods",
    "budget": "--budget", "ratios": "--ratios", "seeds": "--seeds", "store": "--out",
    "resume=True": "--resume", "executor": "--executor", "scheduler": "--scheduler",
    "seed": "--seed", "source": "--data", "kind": "--problem", "ridge": "--ridge",
    "corruption": "--corruption", "fraction": "--corruption",
}  # fmt: skip

DEAR = ("forward_mode", "real_time_forward", "self_tuning", "lvhba", "penalty", "maid")
"""Methods that carry p x n numbers, or points whose exact position takes minutes to find, or a
bound that is known for few parameters only."""

MANY_PARAMETERS = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    add_data_options(parser)
    add_out(parser)
    parser.add_argument(
        "--methods", type=_names, default="all", metavar="A,B,...",
        help="names in snake case or short forms (l2r, mwnet, krmd, stn, cg, ...); all leaves out "
        f"those that carry p x n numbers where p is above {MANY_PARAMETERS}",
    )  # fmt: skip
    parser.add_argument(
        "--mitigations",
        type=_names,
        default="none",
        metavar="A,B,...",
        help="each with each method: none, entropy, l2, ...",
    )
    parser.add_argument(
        "--budget", type=natural, default=2000, metavar="CALLS",
        help="oracle calls of each run; one is a pass over the data with one vector",
    )  # fmt: skip
    parser.add_argument(
        "--ratios", type=LogGrid, default=LogGrid("1e-2:1e4:10"), metavar="A:B:COUNT",
        help="ratios R of the speeds of weights and model, a logarithmic grid",
    )  # fmt: skip
    parser.add_argument(
        "--seeds", type=natural, default=3, metavar="K",
        help="draws of the data: --seed and the K-1 after it",
    )  # fmt: skip
    add_executor(parser, "methods and draws")
    parser.add_argument(
        "--resume", action="store_true",
        help="go on with the same comparison in DIR, or start it where nothing was started",
    )  # fmt: skip


def _names(text: str) -> tuple[str, ...]:
    """Names between commas."""
    found = tuple(part.strip() for part in text.split(",") if part.strip())
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} holds no name")
    return found


@dataclass(frozen=True)
class Draws:
    """From a seed to the problem of its draw; small, so that it can be sent to other processes."""

    recipe: Recipe

    def __call__(self, seed: int) -> Problem:
        return self.recipe(seed=seed)

    def document(self) -> dict[str, Any]:
        """Return what the draws are made of, in JSON types."""
        return self.recipe.document()


def execute(args: argparse.Namespace) -> int:
    """Run the command."""
    from ...dynamics.jobs import StorageFault
    from ..folder import new_folder

    if not args.resume:
        new_folder(args.out, "go on with it by --resume, or choose another --out")
    try:
        return _run(args)
    except (StorageFault, OSError) as error:
        reason = error.strerror or error
        raise UserError(
            f"--out {args.out}: cannot be written ({reason}); what is finished stays, go on with "
            "--resume"
        ) from error
    except KeyboardInterrupt:
        print(f"interrupted; what is finished is stored. Go on with: {resumed_command()}",
              file=sys.stderr)  # fmt: skip
        return 130


def _run(args: argparse.Namespace) -> int:
    """Do what is missing, then draw and conclude."""
    from ...dynamics.provenance import record

    check_executor(args)
    recipe = _recipe(args)
    start = time.perf_counter()
    ds, entries = _compute(args, recipe)
    seconds = time.perf_counter() - start
    settings = {
        "data": recipe.document(), "methods": list(entries), "budget": args.budget,
        "ratios": args.ratios.text, "seeds": args.seeds,
    }  # fmt: skip
    provenance = record(settings, root_seed=args.seed, wall_seconds=seconds)
    if (ds["status"] >= 0).any():
        _publish(args, ds, Path(recipe.request.source).name, provenance)
    return _conclude(args, ds, seconds)


def _recipe(args: argparse.Namespace) -> Recipe:
    """Return how the draws are made, after a look at the first."""
    from ..data import Recipe, Request

    source = args.data if args.data in ("toy", "digits") else Recipe.absolute(args.data)
    request = Request(source=source, kind=args.problem, seed=args.seed, fraction=args.corruption)
    recipe = Recipe(request=request, ridge=args.ridge)
    if recipe.data().test is None:
        print("no test samples: the tables have the validation risk alone", file=sys.stderr)
    return recipe


def _entries(args: argparse.Namespace, problem: Problem) -> dict[str, Entry]:
    """Return what is compared."""
    from ...analysis.comparison import method_names, standard_entries

    names = args.methods
    if names == ("all",):
        names = method_names()
        if problem.num_params > MANY_PARAMETERS:
            names = tuple(name for name in names if name not in DEAR)
            print(
                f"left out with p = {problem.num_params}, where they are dear: {', '.join(DEAR)}; "
                "name them in --methods to have them",
                file=sys.stderr,
            )
    entries = standard_entries(names, args.mitigations)
    plain = standard_entries(names)
    pairs = [
        name if extra == "none" else f"{name}+{extra}"
        for extra in args.mitigations
        for name in plain
    ]
    absent = [pair for pair in dict.fromkeys(pairs) if pair not in entries]
    if absent:
        print(f"left out, as the two do not go together: {', '.join(absent)}", file=sys.stderr)
    return entries


def _compute(args: argparse.Namespace, recipe: Recipe) -> tuple[xr.Dataset, dict[str, Entry]]:
    """Do what is missing, with progress."""
    from ...analysis.comparison import compare
    from ..faults import faults_of_user
    from ..progress import ShareProgress

    pool = _pool(args)
    with faults_of_user(OPTIONS):
        problem = recipe()
        entries = _entries(args, problem)
        print(
            f"{len(entries)} entries x {args.ratios.count} R x {args.seeds} draws, {args.budget} "
            f"oracle calls each, on {problem!r}",
            flush=True,
        )
        with ShareProgress() as progress, warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # units that failed are listed at the end
            ds = compare(
                Draws(recipe), entries, budget=args.budget, ratios=args.ratios.values(),
                seeds=range(args.seed, args.seed + args.seeds), store=args.out,
                resume=args.resume, executor=pool, progress=progress,
            )  # fmt: skip
    return ds, entries


def _pool(args: argparse.Namespace) -> Pool:
    """Return who computes."""
    from ...dynamics.jobs import Pool

    kind = args.executor or ("dask" if args.scheduler else None)
    if kind is None:
        kind = "serial" if args.jobs == 1 else "processes"
    return Pool(kind, args.jobs, args.scheduler)


def _publish(
    args: argparse.Namespace, ds: xr.Dataset, name: str, provenance: dict[str, Any]
) -> None:
    """Write the tables and draw the figures."""
    from ...analysis.comparison import summarise
    from ...dynamics.storage.atomic import write_text
    from ._compare_drawings import save_figures
    from ._compare_page import markdown_page, write_csv

    chosen = ds.sel(ratio=summarise(ds)["best_ratio"])
    write_csv(args.out / "comparison.csv", ds)
    page = markdown_page(ds, chosen, name, resumed_command(adds=False), provenance)
    write_text(args.out / "COMPARISON.md", page)
    save_figures(args.out, ds, chosen, name, provenance)


def _conclude(args: argparse.Namespace, ds: xr.Dataset, seconds: float) -> int:
    """Print where everything is and what failed; return the exit code."""
    from ...analysis.comparison import summarise
    from ...dynamics.jobs.published import UNITS
    from ...dynamics.storage.marks import Marks
    from ..progress import duration
    from ._compare_page import at_the_edge
    from ._failures import list_units

    page = args.out / "COMPARISON.md"
    if ds.attrs["num_distinct_draws"] == 1 < args.seeds:
        print(
            f"all {args.seeds} draws hold the same data; --corruption would make them differ",
            file=sys.stderr,
        )
    edge = at_the_edge(ds, summarise(ds))
    if edge:
        print(
            f"the best R of {len(edge)} of {ds.sizes['entry']} entries is at the end of --ratios: "
            "a wider range may change the tables",
            file=sys.stderr,
        )
    if (ds["status"] < 0).all():
        print(f"nothing was compared in {duration(seconds)}: all units failed")
    else:
        print(f"compared in {duration(seconds)}; tables: {page}, figures beside it")
    broken = int((ds["status"] > 1).sum())
    if broken:
        print(f"{broken} of {ds['status'].size} runs ended badly: see the column `ended`")
    return 1 if list_units(Marks(args.out / UNITS, args.out)) else 0
