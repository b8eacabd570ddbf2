"""What only trying tells: whether losses are per sample, and which derivatives torch has."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from ..types import Array
from .calculus import Calculus, DoubleBackward, ForwardMode, Losses
from .samples import Samples

__all__ = ["Found", "check_finite", "choose_calculus", "first_use"]

FINE = 1e-12
"""Round-off of a dtype in which differences confirm second derivatives."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """How to differentiate, whether cells can be vectorised, and what to tell the user."""

    calculus: Calculus
    vmaps: bool
    vmaps_samples: bool
    is_twice_backward: bool
    warning: str = ""


@contextmanager
def first_use() -> Iterator[None]:
    """Silence torch's own deprecation warning on the first forward-mode derivative of a process."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r".torch\.jit\.script. is deprecated", DeprecationWarning)
        yield


def check_finite(name: str, samples: Samples) -> None:
    """Refuse samples, those of the argument ``name``, without a finite loss at the start."""
    import torch

    with torch.no_grad():
        finite = torch.isfinite(samples.losses(samples.passing.theta))
    if not bool(finite.all()):
        row = int((~finite).nonzero()[0, 0])
        raise ValueError(
            f"`loss` must be finite for every sample; it is not at `{name}` sample {row}."
        )


def choose_calculus(samples: Samples, fine: Samples) -> Found:
    """Return how to differentiate the losses of a module, after trying on a few samples.

    Parameters
    ----------
    samples : Samples
        A few samples as the problem has them.
    fine : Samples
        The same in float64, where the module allows it: differences of single precision cannot
        tell a wrong second derivative from a kink.

    Raises
    ------
    ValueError
        For losses that are random, depend on the other samples, or have no second derivatives.
    """
    passing, losses = samples.passing, samples.losses
    before = passing.buffers()
    values = losses(passing.theta).detach()
    _check_losses(samples, values)
    after = passing.buffers()
    if any(not a.equal(b) for a, b in zip(before, after, strict=True)):
        raise ValueError(
            "`module` must not change its buffers in a forward pass; call `module.eval()` before."
        )
    failed = _lacking(ForwardMode(), samples) or _wrong(ForwardMode(), fine)
    fault = _lacking(DoubleBackward(), samples) or _wrong(DoubleBackward(), fine)
    if failed is None:
        return Found(
            calculus=ForwardMode(),
            vmaps=_vmaps(losses, passing.theta),
            vmaps_samples=_vmaps_samples(samples, values),
            is_twice_backward=fault is None,
        )
    if fault is not None:
        raise ValueError(
            f"`module` must have second derivatives: {fault}; write it in operations that torch "
            "can differentiate twice."
        )
    warning = (
        f"`module` has no usable forward-mode derivative ({failed}); second backward passes take "
        "its place, at up to twice the cost."
    )
    return Found(
        calculus=DoubleBackward(),
        vmaps=False,
        vmaps_samples=False,
        is_twice_backward=True,
        warning=warning,
    )


def _check_losses(samples: Samples, values: Array) -> None:
    """Refuse losses that differ from call to call, or between a batch and single samples."""
    import torch

    theta, eps = samples.passing.theta, torch.finfo(values.dtype).eps
    # Matrix products of other shapes round differently; what mixes or draws is far beyond that.
    tol = 1e4 * eps * (1.0 + values.abs().max())
    if bool(((samples.losses(theta) - values).abs() > tol).any()):
        raise ValueError(
            "`module` must be deterministic: two forward passes gave different losses; call "
            "`module.eval()`, or leave the random operation out."
        )
    alone = replace(samples, at_once=1).losses(theta)
    if bool(((alone - values).abs() > tol).any()):
        raise ValueError(
            "`module` and `loss` must treat samples one by one: a sample alone has another loss "
            "than among others; use GroupNorm or LayerNorm in place of batch statistics."
        )


def _vmaps_samples(samples: Samples, values: Array) -> bool:
    """Whether the losses of single samples can be vectorised."""
    import torch

    def one(x: Array, y: Array) -> Array:
        return samples.losses_of(x[None], y[None])(samples.passing.theta)[0]

    try:
        rows = torch.func.vmap(one)(samples.X, samples.y)
    except (RuntimeError, NotImplementedError, ValueError, TypeError):
        return False
    tol = 1e4 * _eps(values) * (1.0 + values.abs().max())
    return bool(((rows - values).abs() <= tol).all())


def _lacking(calculus: Calculus, samples: Samples) -> str | None:
    """Return what torch has no derivative for, in one line; None where it has all."""
    import torch

    theta = samples.passing.theta
    u = theta.new_ones(len(samples.y))
    try:
        with torch.enable_grad():
            if not samples.losses(theta.clone().requires_grad_()).requires_grad:
                return "its losses do not depend on its parameters by differentiable operations"

        calculus.pull(samples.losses, theta, u)
        calculus.push(samples.losses, theta, theta)
        calculus.curve(samples.losses, theta, u, theta)
    except (RuntimeError, ValueError, TypeError) as error:
        return str(error).strip().splitlines()[0].split(". ")[0].rstrip(".")
    return None


def _wrong(calculus: Calculus, samples: Samples) -> str | None:
    """Return which derivatives are wrong, in one line; None where none is.

    That is a product that is not the transpose of the other, or second derivatives that no
    difference confirms. Operations of somebody else's may hide such faults, and so do a few of
    torch's own (weight_norm on a CPU, for one).
    """
    losses, theta = samples.losses, samples.passing.theta
    # Off the given parameters, where a bias of zero under a blank patch would sit on a kink.
    theta = theta + 1e-2 * (1.0 + theta.abs()) * (theta.new_ones(len(theta)).cumsum(0) * 5.0).sin()
    u = theta.new_ones(len(samples.y)).cumsum(0) / len(samples.y)
    directions = [(theta.new_ones(len(theta)).cumsum(0) * k).cos() for k in (1.0, 2.0, 3.0)]
    slope = calculus.pull(losses, theta, u)
    rows = calculus.push(losses, theta, directions[0])
    size = rows.abs() @ u + slope.abs() @ directions[0].abs()
    if bool((slope @ directions[0] - rows @ u).abs() > 1e4 * _eps(theta) * size):
        return "its forward and backward derivatives do not belong together"
    if _eps(theta) > FINE:
        return None
    errors = [_bend_error(calculus, losses, theta, u, v) for v in directions]
    # Differences are off by the root of round-off; across a kink by more, which a step so small
    # rarely meets, and not in every direction.
    if min(errors) > 1e4 * _eps(theta) ** 0.5:
        return "its second derivatives are not those of the first ones"
    return None


def _bend_error(calculus: Calculus, losses: Losses, theta: Array, u: Array, v: Array) -> float:
    """Return the error of a second derivative relative to the gradient and to itself."""
    bend = calculus.curve(losses, theta, u, v)
    scale = (1.0 + theta.norm()) / v.norm()
    step = _eps(theta) ** 0.5 * scale
    ends = [calculus.pull(losses, theta + sign * step * v, u) for sign in (1.0, -1.0)]
    numeric = (ends[0] - ends[1]) / (2.0 * step)
    return float((bend - numeric).norm() / (bend.norm() + numeric.norm() + ends[0].norm() / scale))


def _eps(a: Array) -> float:
    import torch

    return float(torch.finfo(a.dtype).eps)


def _vmaps(losses: Losses, theta: Array) -> bool:
    """Whether the forward pass gives the same for several thetas at once as for one."""
    import torch

    try:
        pair = torch.func.vmap(losses)(torch.stack([theta, 2.0 * theta]))
    except (RuntimeError, NotImplementedError, ValueError, TypeError):
        return False
    single = losses(theta)
    tol = 1e4 * torch.finfo(theta.dtype).eps * (1.0 + single.abs().max())
    return bool(((pair[0] - single).abs() <= tol).all())
