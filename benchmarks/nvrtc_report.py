"""What NVRTC makes of the CUDA kernels: registers, shared memory and spills, without a device.

``python benchmarks/nvrtc_report.py [--quick]`` writes ``results/nvrtc.json`` and the table
``results/nvrtc.md``. It needs the CUDA extra, whose NVRTC compiles to machine code and passes on
what its assembler says (``-Xptxas=-v``); neither a driver nor a device.
"""

import argparse
import json
import re
import sys
import time
from pathlib import Path

import numpy as np

from warmflow.dynamics import LeastSquares, provenance
from warmflow.dynamics.sweeps.cuda.source import MAX_THREADS, WARP, options_for, read_source

RESULTS = Path(__file__).parent / "results"
ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)
PARAMS = (1, 2, 3, 5, 8)
REGISTERS = 65536
"""Of a multiprocessor of every architecture above."""
WARPS = {75: 32, 86: 48, 89: 48, 120: 48}
"""Most warps of a multiprocessor; 64 elsewhere."""

ENTRY = re.compile(
    r"Compiling entry function '(?P<kernel>\w+)'.*?"
    r"(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores, "
    r"(?P<loads>\d+) bytes spill loads.*?Used (?P<registers>\d+) registers"
    r"(?:.*?(?P<shared>\d+) bytes smem)?",
    re.DOTALL,
)


def problem(p: int, dtype: str) -> LeastSquares:
    return LeastSquares(np.eye(p), np.ones(p), np.eye(p), np.ones(p), ridge=0.1).to(dtype=dtype)


def compile_log(nvrtc, source: str, options: tuple[str, ...], architecture: int) -> str:
    """Return what the assembler says of the kernels."""
    program = nvrtc.createProgram(source, "kernels.cu", [], [])
    try:
        flags = [*options, "-ftz=true", f"-arch=sm_{architecture}", "-Xptxas=-v"]
        nvrtc.compileProgram(program, flags)
        return nvrtc.getProgramLog(program)
    finally:
        nvrtc.destroyProgram(program)


def read_log(log: str, architecture: int) -> dict[str, dict[str, int]]:
    """Return registers, spills, shared memory and resident warps of each kernel."""
    found = {}
    for part in log.split("ptxas info    : Compile time")[:-1]:
        match = ENTRY.search(part)
        row = {key: int(match[key] or 0) for key in ("registers", "stores", "loads", "stack")}
        row["shared_bytes"] = int(match["shared"] or 0)
        each = -(-row["registers"] // 8) * 8 * WARP
        row["warps_per_processor"] = min(REGISTERS // each, WARPS.get(architecture, 64))
        found[match["kernel"]] = row
    return found


def report(architectures, params, dtypes=("float64", "float32")) -> dict:
    import cupy

    nvrtc, source, rows = cupy.cuda.nvrtc, read_source(), []
    for architecture in architectures:
        for dtype in dtypes:
            for p in params:
                began = time.perf_counter()
                options = options_for(problem(p, dtype))
                kernels = read_log(compile_log(nvrtc, source, options, architecture), architecture)
                seconds = round(time.perf_counter() - began, 2)
                row = {"sm": architecture, "dtype": dtype, "p": p, "seconds": seconds}
                rows.append({**row, "kernels": kernels})
                sys.stdout.write(line(rows[-1]) + "\n")
                sys.stdout.flush()
    versions = {"nvrtc": list(nvrtc.getVersion()), "cupy": cupy.__version__}
    return {"versions": versions, "max_threads": MAX_THREADS, "rows": rows}


def line(row: dict) -> str:
    """Return the row of the table: registers and spilt bytes, and the warps that fit."""
    cells = [f"sm_{row['sm']:<4d} {row['dtype']}  p={row['p']}  {row['seconds']:5.1f} s"]
    for kernel in ("march", "partial_moments", "finish_step"):
        found = row["kernels"][kernel]
        spilt = found["stores"] + found["loads"]
        cells.append(
            f"{kernel} {found['registers']:3d} reg {spilt:4d} B spilt "
            f"{found['warps_per_processor']:2d} warps"
        )
    return "   ".join(cells)


def table(found: dict) -> str:
    """Return the registers of ``march`` and what it spills, architectures down, problems across."""
    nvrtc = ".".join(map(str, found["versions"]["nvrtc"]))
    lines = [
        f"Registers per thread of `march` (bytes spilt in brackets), NVRTC {nvrtc}, "
        f"CuPy {found['versions']['cupy']}.",
        "",
    ]
    heads = [f"{row['dtype']} p={row['p']}" for row in found["rows"]]
    heads = list(dict.fromkeys(heads))
    lines += ["| |" + "|".join(heads) + "|", "|---" * (1 + len(heads)) + "|"]
    for architecture in dict.fromkeys(row["sm"] for row in found["rows"]):
        cells = [_cell(row) for row in found["rows"] if row["sm"] == architecture]
        lines.append(f"| sm_{architecture} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(row: dict) -> str:
    march = row["kernels"]["march"]
    spilt = march["stores"] + march["loads"]
    return str(march["registers"]) + (f" ({spilt})" if spilt else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one architecture, nothing written")
    choice = parser.parse_args()
    if choice.quick:
        report((90,), (2, 8))
        return
    found = report(ARCHITECTURES, PARAMS)
    found["provenance"] = provenance.record({"architectures": ARCHITECTURES, "params": PARAMS})
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "nvrtc.json").write_text(json.dumps(found, indent=1) + "\n")
    (RESULTS / "nvrtc.md").write_text(table(found))


if __name__ == "__main__":
    main()
