"""The kernels compiled by NVRTC to machine code, which needs neither a driver nor a device."""

from functools import lru_cache

import pytest

from warmflow.dynamics.sweeps.cuda.source import options_for, read_source

from ..cases import two_clusters

nvrtc = pytest.importorskip("cupy", reason="the CUDA extra is not installed").cuda.nvrtc

ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)
KERNELS = ("march", "partial_moments", "finish_step", "finish_moments", "partial_sums", "weights")


@lru_cache
def supported() -> tuple[int, ...]:
    """Return the architectures of this NVRTC; skip where its library is missing."""
    try:
        return tuple(nvrtc.getSupportedArchs())
    except (RuntimeError, ImportError, OSError) as error:
        pytest.skip(f"the library of NVRTC is not installed: {error}")


def compile_cubin(source: str, options: tuple[str, ...], architecture: int) -> bytes:
    """Compile with what CuPy adds to the options."""
    program = nvrtc.createProgram(source, "kernels.cu", [], [])
    try:
        nvrtc.compileProgram(program, [*options, "-ftz=true", f"-arch=sm_{architecture}"])
        return nvrtc.getCUBIN(program)
    except nvrtc.NVRTCError:
        raise AssertionError(nvrtc.getProgramLog(program)) from None
    finally:
        nvrtc.destroyProgram(program)


CASES = [
    (architecture, 1 + (2 * k + 5 * is_single) % 8, "float32" if is_single else "float64")
    for k, architecture in enumerate(ARCHITECTURES)
    for is_single in (0, 1)
] + [(90, 8, "float64")]


@pytest.mark.parametrize("architecture, p, dtype", CASES)
def test_the_source_becomes_machine_code(architecture: int, p: int, dtype: str) -> None:
    if architecture not in supported():
        pytest.skip(f"this NVRTC does not know sm_{architecture}")
    q = two_clusters(10, p).to(dtype=dtype)
    cubin = compile_cubin(read_source(), options_for(q), architecture)
    assert cubin[:4] == b"\x7fELF"
    for kernel in KERNELS:
        assert f".text.{kernel}\0".encode() in cubin


@pytest.mark.parametrize(
    "old, new",
    [
        ("__syncwarp(ALL);", "__syncwarps(ALL);"),
        ("constexpr int WARP = 32;", "#include <vector>\nconstexpr int WARP = 32;"),
        ("__shfl_down_sync(ALL, x, offset)", "__shfl_down_sync(ALL, x, offset, 32, 1)"),
    ],
)
def test_what_only_a_host_compiler_takes_is_refused(old: str, new: str) -> None:
    supported()
    source = read_source()
    changed = source.replace(old, new)
    assert changed != source
    with pytest.raises(AssertionError, match="error"):
        compile_cubin(changed, options_for(two_clusters(10, 2)), 90)
