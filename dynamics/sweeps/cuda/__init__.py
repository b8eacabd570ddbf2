"""The CUDA engine of least squares: kernels of our own for few parameters.

``sums.cu``, ``step.cu`` and ``kernels.cu`` are one source: :mod:`.source` joins them and names the
options to compile them with. :mod:`.choice` says which form of it serves which shape,
:mod:`.memory` what lies where, :mod:`.pace` how much one launch does; :mod:`.launches` steps and
describes cells, and :mod:`.engine` takes all of them through on a :mod:`.device`.
"""

from __future__ import annotations

from .choice import Choice, choose, suits
from .device import CupyDevice, Device
from .engine import run_cuda

__all__ = ["Choice", "CupyDevice", "Device", "choose", "run_cuda", "suits"]
