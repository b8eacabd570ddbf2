"""What only trying tells: whether losses are per sample, and which derivatives torch has."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

from ..types import Array
from .calculus import Calculus, DoubleBackward, ForwardMode, Losses
from .samples import Samples

__all__ = ["Found", "choose_calculus"]


@dataclass(frozen=True, kw_only=True)
class Found:
    """How to differentiate, whether cells can be vectorised, and what to tell the user."""

    calculus: Calculus
    vmaps: bool
    is_twice_backward: bool
    warning: str = ""


def choose_calculus(samples: Samples) -> Found:
    """Return how to differentiate the losses of a module, after trying on a few samples.

    Raises
    ------
    ValueError
        For losses that are random, depend on the other samples, are not finite at the module's
        parameters, or have no second derivatives.
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
    with warnings.catch_warnings():
        # torch's own, on the first forward-mode derivative of a process
        warnings.filterwarnings("ignore", r".torch\.jit\.script. is deprecated", DeprecationWarning)
        failed = _fault(ForwardMode(), losses, passing.theta, values)
    fault = _fault(DoubleBackward(), losses, passing.theta, values)
    if failed is None:
        vmaps = _vmaps(losses, passing.theta)
        return Found(calculus=ForwardMode(), vmaps=vmaps, is_twice_backward=fault is None)
    if fault is not None:
        raise ValueError(f"`module` must have second derivatives; torch says: {fault}")
    warning = (
        f"torch has no forward-mode derivative for this module ({failed}); second backward passes "
        "take its place, at about twice the cost."
    )
    return Found(calculus=DoubleBackward(), vmaps=False, is_twice_backward=True, warning=warning)


def _check_losses(samples: Samples, values: Array) -> None:
    """Refuse losses that differ from call to call, or between a batch and single samples."""
    import torch

    theta, eps = samples.passing.theta, torch.finfo(values.dtype).eps
    if not bool(torch.isfinite(values).all()):
        raise ValueError("`loss` must be finite at the parameters of the module; got NaN or inf.")
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


def _fault(calculus: Calculus, losses: Losses, theta: Array, values: Array) -> str | None:
    """Return why a calculus does not work, in one line; None where it does."""
    import torch

    u, v = torch.ones_like(values), torch.ones_like(theta)
    try:
        for part in (
            calculus.pull(losses, theta, u),
            calculus.push(losses, theta, v),
            calculus.curve(losses, theta, u, v),
        ):
            part.sum().item()
    except (RuntimeError, NotImplementedError, ValueError, TypeError) as error:
        return str(error).strip().splitlines()[0].split(". ")[0]
    return None


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
