"""What moves theta along the direction of a method: optimizers of torch, or Newton's method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from ...dynamics import checks
from ...dynamics.linalg import cg
from ...dynamics.torch_bridge import TorchProblem
from ...dynamics.types import Array

__all__ = ["Mover", "NewtonCG", "TorchOptimizer", "mover_of"]

Factory = Callable[[list[Any]], Any]
"""Parameters to a ``torch.optim.Optimizer``."""
HALVINGS = 20


class Mover(Protocol):
    """Moves theta along a gradient, and can be stored."""

    @property
    def label(self) -> str:
        """The optimizer in words."""

    def move(self, problem: TorchProblem, theta: Array, w: Array, gradient: Array) -> Array:
        """Return the next theta (p,)."""

    def state(self) -> Any:
        """Return what a checkpoint keeps."""

    def restore(self, state: Any) -> None:
        """Go on from a checkpoint."""


@dataclass(frozen=True, kw_only=True)
class NewtonCG:
    r"""Newton's method by truncated conjugate gradients, with a line search on G.

    .. math::

        d = \mathrm{CG}_K\big(H(\theta, w) + \delta I,\; g\big), \qquad
        \theta^+ = \theta - s\,d,

    with g the method's direction and s the first of 1, 1/2, 1/4, ... that lowers G enough (Armijo);
    d = g where the first product already shows negative curvature. Nocedal and Wright (2006),
    section 7.1. Costs up to K ``hvp`` and a few ``train_loss`` per step.

    Parameters
    ----------
    num_cg : int
        K.
    damping : float
        :math:`\delta \ge 0`.
    """

    num_cg: int = 20
    damping: float = 0.0

    def __post_init__(self) -> None:
        checks.integer("num_cg", self.num_cg, minimum=1)
        checks.nonnegative("damping", self.damping)

    @property
    def label(self) -> str:
        """The knobs."""
        return repr(self)

    def move(self, problem: TorchProblem, theta: Array, w: Array, gradient: Array) -> Array:
        product = problem.hvp_at(theta, w)
        d = cg(
            lambda v: product(v) + self.damping * v, gradient, tol=1e-8, max_iterations=self.num_cg
        ).x
        slope = float(d @ gradient)
        if slope <= 0:
            d, slope = gradient, float(gradient @ gradient)
        start, step = float(problem.train_loss(theta, w)), 1.0
        for _ in range(HALVINGS):
            trial = theta - step * d
            if float(problem.train_loss(trial, w)) <= start - 1e-4 * step * slope:
                return trial
            step *= 0.5
        return theta

    def state(self) -> None:
        """Newton's method remembers nothing."""

    def restore(self, state: None) -> None:
        """Newton's method remembers nothing."""


class TorchOptimizer:
    """An optimizer of torch on the parameters of the module, in their own shapes.

    Parameters
    ----------
    problem : TorchProblem
    factory : callable
        Parameters to a ``torch.optim.Optimizer``, or to a pair of it and a scheduler of its rates
        (``torch.optim.lr_scheduler``), which steps after it.

    Raises
    ------
    ValueError, TypeError
        For what makes no optimizer of these parameters, or one that needs a closure.
    """

    def __init__(self, problem: TorchProblem, factory: Factory) -> None:
        import torch

        self._shapes = problem.parameter_shapes
        self._sizes = [shape.numel() for shape in self._shapes]
        whole = torch.zeros(problem.num_params, dtype=problem.dtype, device=problem.device)
        self._parameters = [part.clone().requires_grad_() for part in self._split(whole)]
        made = factory(self._parameters)
        self._optimizer, self._scheduler = made if isinstance(made, tuple) else (made, None)
        if not isinstance(self._optimizer, torch.optim.Optimizer):
            raise TypeError(
                "`optimizer` must make a torch.optim.Optimizer from parameters; it made "
                f"{type(self._optimizer).__name__}."
            )
        self._check()
        self._label = " ".join(repr(self._optimizer).split())  # a scheduler changes the rates

    @property
    def label(self) -> str:
        """The optimizer and its settings."""
        return self._label

    def _check(self) -> None:
        """Refuse an optimizer of other parameters, or one that cannot step from gradients alone."""
        import torch

        name = type(self._optimizer).__name__
        if isinstance(self._optimizer, torch.optim.LBFGS | torch.optim.SparseAdam):
            raise ValueError(f"`optimizer` must step from dense gradients alone; {name} does not.")
        groups = [a for group in self._optimizer.param_groups for a in group["params"]]
        if not groups or {id(a) for a in groups} - {id(a) for a in self._parameters}:
            raise ValueError(
                f"`optimizer` must be made from the parameters it is given; {name} has others."
            )

    def move(self, problem: TorchProblem, theta: Array, w: Array, gradient: Array) -> Array:
        import torch

        with torch.no_grad():
            pairs = zip(self._parameters, self._split(theta), self._split(gradient), strict=True)
            for parameter, value, slope in pairs:
                parameter.copy_(value)
                parameter.grad = slope.clone()
        self._optimizer.step()
        if self._scheduler is not None:
            self._scheduler.step()
        return torch.cat([part.detach().reshape(-1) for part in self._parameters])

    def state(self) -> Any:
        """What optimizer and scheduler remember."""
        remembered = [dict(self._optimizer.state[a]) for a in self._parameters]
        rates = [
            {name: value for name, value in group.items() if name != "params"}
            for group in self._optimizer.param_groups
        ]
        schedule = None if self._scheduler is None else self._scheduler.state_dict()
        return {"remembered": remembered, "groups": rates, "schedule": schedule}

    def restore(self, state: Any) -> None:
        """Go on from :meth:`state`; tensors keep their dtype, which torch's own loading casts."""
        for a, values in zip(self._parameters, state["remembered"], strict=True):
            if values:
                self._optimizer.state[a] = dict(values)
        for group, values in zip(self._optimizer.param_groups, state["groups"], strict=True):
            group.update(values)
        if self._scheduler is not None:
            self._scheduler.load_state_dict(state["schedule"])

    def _split(self, flat: Array) -> list[Array]:
        parts = flat.split(self._sizes)
        return [part.reshape(shape) for part, shape in zip(parts, self._shapes, strict=True)]


def mover_of(problem: TorchProblem, optimizer: Any) -> Mover:
    """Return what moves theta, from what the user gave."""
    import torch

    if isinstance(optimizer, NewtonCG):
        return optimizer
    if isinstance(optimizer, torch.optim.Optimizer):
        name = type(optimizer).__name__
        raise TypeError(
            "`optimizer` must be a function of the parameters, since the problem has its own copy "
            f"of them; pass `lambda params: torch.optim.{name}(params, ...)`."
        )
    if not callable(optimizer):
        raise TypeError(
            f"`optimizer` must be NewtonCG() or a function of the parameters; got {optimizer!r}."
        )
    return TorchOptimizer(problem, optimizer)
