"""A torch module as a bilevel problem."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from array_api_compat import is_numpy_namespace, is_torch_namespace

from .. import checks
from ..linalg import solve_spd
from ..namespaces import resolve_namespace, to_numpy
from ..problems import Hosted, Problem, indefinite_adjoint, local_minimiser
from ..problems.data import subset
from ..status import ConvergenceError
from ..types import Array
from .admission import admit_constants, admit_data, admit_module, require_torch
from .calculus import Calculus, ForwardMode
from .forward_pass import ForwardPass
from .losses import admit_loss, telling_rows
from .probes import check_finite, choose_calculus, first_use
from .samples import Samples
from .vectorise import over_cells

__all__ = ["TorchProblem"]

HESSIAN_LIMIT = 4096
"""Largest p for which a dense Hessian is formed at all (134 MB of float64)."""
ROWS = 16384
"""Samples times cells that pass through the module at once."""


class TorchProblem(Problem):
    r"""Weighted training of a ``torch.nn.Module``.

    .. math::

        l_i(\theta) = \mathrm{loss}(f_\theta(x_i), y_i), \qquad
        F(\theta) = \tfrac1m\sum_j \mathrm{loss}(f_\theta(x'_j), y'_j), \qquad
        G = \sum_i w_i l_i + \tfrac\lambda2|\theta|^2 .

    theta concatenates the ``named_parameters()`` that require a gradient, in torch's order and
    flattened; the ridge acts on all of them, biases included. Oracles are functional: they read and
    write flat vectors, change neither the module nor anything global, and return no graph.

    A call of ``per_sample_losses`` is one forward pass, of ``train_grad`` and ``val_grad`` one
    backward pass, of ``per_sample_jvp`` one forward-mode pass for all samples together, of ``hvp``
    forward mode over a backward pass.

    Parameters
    ----------
    module : torch.nn.Module
        Copied; the parameters that it has are ``initial_theta``. Samples must not see each other:
        batch norm and dropout are taken in evaluation mode and refused in training mode.
    loss : callable
        ``loss(outputs, targets)``: one number for each sample (``reduction="none"``). A mean or sum
        over the batch is applied sample by sample.
    train, val : (X, y)
        Tensors or arrays with one row for each sample, or torch datasets of pairs. Floats take the
        dtype of the problem, integers become int64.
    ridge : float
        :math:`\lambda \ge 0`, outside the weighted sum.
    batch_size : int, optional
        Most samples that pass through the module at once: bounds the memory, changes no result. For
        mini-batches see the methods' own ``batch_size``.
    device, dtype : optional
        Where and in what to compute; those of the module when left out.
    test : (X, y), optional
        An independent test set, for reports only.
    clean : (n,) bool, optional
        Which training samples are known to be clean, for reports only.
    constants : (mu, L), optional
        Bounds ``mu I <= H <= L I`` that you vouch for: they make ``rho=None`` and MAID possible,
        and mu > 0 says that G is convex.

    Attributes
    ----------
    calculus : str
        ``"forward"``, or, with a warning, ``"double backward"`` where torch has no forward mode.

    Raises
    ------
    ImportError
        Without torch, with the command that installs it.
    ValueError, TypeError
        For wrong data, and modules or losses without per-sample losses or second derivatives; the
        text names the layer and the cure.

    Notes
    -----
    ``theta_star(w)`` (for ridge > 0) is the *local* minimiser that a trust region reaches from a
    guess, or from the module's parameters; h and its gradient belong to that branch. Away from it H
    may be indefinite, and Psi no descent direction of h.
    """

    _arrays: ClassVar[tuple[str, ...]] = ("X", "y", "X_val", "y_val", "X_test", "y_test")

    def __init__(
        self,
        module: Any,
        loss: Callable[[Any, Any], Any],
        train: Any,
        val: Any,
        ridge: float = 1e-3,
        batch_size: int | None = None,
        device: Any = None,
        dtype: Any = None,
        test: Any = None,
        clean: Any = None,
        constants: tuple[float, float] | None = None,
    ) -> None:
        torch = require_torch("TorchProblem")
        self.xp = resolve_namespace(torch)
        self.ridge = checks.nonnegative("ridge", ridge)
        if batch_size is not None:
            batch_size = checks.integer("batch_size", batch_size, minimum=1)
        self.batch_size = batch_size
        self._bounds = None if constants is None else admit_constants(constants)
        own = admit_module(module, dtype, device)
        home = next(own.parameters())
        where = (home.dtype, home.device)
        self.X, self.y = admit_data("train", train, *where)
        self.X_val, self.y_val = admit_data("val", val, *where)
        held_out: Any = (None, None) if test is None else admit_data("test", test, *where)
        self.X_test, self.y_test = held_out
        self.num_samples = int(self.X.shape[0])
        self.clean = None if clean is None else checks.mask("clean", clean, length=self.num_samples)
        self._pass = ForwardPass(own)
        self.num_params = self._pass.num_params
        self._loss_as_given = loss
        self._calculus: Calculus = ForwardMode()
        self._vmaps = self._vmaps_samples = self._is_twice_backward = False
        with first_use():
            self._admit_loss()
            for name, samples in (("train", self._train), ("val", self._val)):
                check_finite(name, samples)
            found = choose_calculus(*self._few())
        self._calculus, self._vmaps = found.calculus, found.vmaps
        self._vmaps_samples = found.vmaps_samples
        self._is_twice_backward = found.is_twice_backward
        if found.warning:
            warnings.warn(found.warning, UserWarning, stacklevel=2)

    def __repr__(self) -> str:
        return (
            f"TorchProblem({self._pass.label}, n={self.num_samples}, p={self.num_params}, "
            f"m={self.num_val}, ridge={self.ridge:g})"
        )

    @property
    def parameter_shapes(self) -> tuple[Any, ...]:
        """Shapes of the parameters that make up theta, in order."""
        return self._pass.shapes

    @property
    def calculus(self) -> str:
        """How derivatives are found: ``"forward"`` or ``"double backward"``."""
        return self._calculus.name

    # ------------------------------------------------------------------ oracles
    def val_grad(self, theta: Array) -> Array:
        val = self._val
        even = val.X.new_full((len(val.y),), 1.0 / len(val.y), dtype=self.dtype)
        return self._over_cells(lambda t: val.pull(t, even), theta)

    def train_grad(self, theta: Array, w: Array) -> Array:
        return self._over_cells(self._train.pull, theta, w) + self.ridge * theta.detach()

    def hvp(self, theta: Array, w: Array, v: Array) -> Array:
        return self._over_cells(self._train.curve, theta, w, v) + self.ridge * v.detach()

    def hvp_at(self, theta: Array, w: Array) -> Callable[[Array], Array]:
        """Return ``v -> H(theta, w) v`` from one graph of the gradient, as long as it is held.

        Every product is then one backward pass through that graph: 2 to 6 times faster than
        ``hvp``. Not with leading axes, nor with ``batch_size``, whose memory it would not keep to.
        """
        if not self._is_twice_backward or self.batch_size or theta.ndim > 1 or w.ndim > 1:
            return super().hvp_at(theta, w)
        product = self._train.curvature_at(theta.detach(), w.detach())

        def shifted(v: Array) -> Array:
            if v.ndim > 1:
                return self.hvp(theta, w, v)
            return product(v) + self.ridge * v.detach()

        return shifted

    def per_sample_jvp(self, theta: Array, v: Array) -> Array:
        return self._over_cells(self._train.push, theta, v)

    def per_sample_losses(self, theta: Array) -> Array:
        return self._over_cells(self._train.losses, theta)

    # ------------------------------------------------------------------ values
    def val_loss(self, theta: Array) -> Array:
        return self._over_cells(self._val.losses, theta).mean(-1)

    def test_loss(self, theta: Array) -> Array:
        if self.X_test is None:
            return super().test_loss(theta)
        return self._over_cells(self._samples(self.X_test, self.y_test).losses, theta).mean(-1)

    @property
    def num_val(self) -> int:
        return int(self.X_val.shape[0])

    @property
    def has_test(self) -> bool:
        return self.X_test is not None

    @cached_property
    def has_accuracy(self) -> bool:
        is_label = self.y_val.ndim == 1 and not self.y_val.is_floating_point()
        out = self._pass.outputs(self._pass.theta, self.X_val[:1])
        return bool(is_label and out.ndim == 2 and out.shape[-1] > 1)

    def accuracy(self, theta: Array, X: Array, y: Array) -> Array:
        """Return the share of rows whose largest output is the target class, shape ``(...)``."""
        return self._over_cells(self._samples(X, y).hits, theta).mean(-1)

    def test_accuracy(self, theta: Array) -> Array:
        if self.X_test is None:
            return super().test_loss(theta)
        return self.accuracy(theta, self.X_test, self.y_test)

    # ------------------------------------------------------------------ exact answers
    @property
    def capabilities(self) -> frozenset[str]:
        offers = set() if self._bounds is None else {"constants"}
        if self.ridge > 0:
            offers.add("theta_star")
        if self.num_params <= HESSIAN_LIMIT:
            offers.add("hessian")
        return frozenset(offers)

    @property
    def is_convex(self) -> bool:
        return self._bounds is not None and self._bounds[0] > 0

    def constants(self) -> tuple[float, float]:
        return super().constants() if self._bounds is None else self._bounds

    def initial_theta(self, w0: Array) -> Array:
        """Return the parameters that the module came with, for every leading axis of ``w0``."""
        return self.xp.zeros_like(w0[..., :1]) + self._pass.theta

    def theta_star(self, w: Array, guess: Array | None = None) -> Array:
        """Return the local minimiser near ``guess``, or near the module's parameters.

        Raises
        ------
        ValueError
            With ridge 0, where a minimiser need not exist.
        ConvergenceError
            When a gradient norm of 1e-10 (in float64) cannot be reached.
        """
        self.require(("theta_star",), "theta_star (which needs `ridge` > 0)")
        start = self._pass.theta if guess is None else guess
        return local_minimiser(self, w, start + self.xp.zeros_like(w[..., :1]))

    def adjoint(
        self, theta: Array, w: Array, tol: float = 1e-12, guess: Array | None = None
    ) -> Array:
        """Return ``H^{-1} grad F``, densely up to p = 500, else by conjugate gradients.

        Where these meet negative curvature, and there are no leading axes, the minimum residual
        method takes over, to 1e-8 at best.
        """
        try:
            return super().adjoint(theta, w, tol=tol, guess=guess)
        except ConvergenceError:
            if theta.ndim > 1 or w.ndim > 1 or self.is_convex:
                raise
        finest = max(1e-8, 100.0 * float(self.xp.finfo(self.dtype).eps))
        return indefinite_adjoint(self, theta.detach(), w.detach(), max(tol, finest))

    def hessian(self, theta: Array, w: Array) -> Array:
        who = f"hessian (which needs p <= {HESSIAN_LIMIT}, got {self.num_params})"
        self.require(("hessian",), who)
        eye = self.xp.eye(self.num_params, dtype=self.dtype, device=self.device)
        H = self.hvp(theta[..., None, :], w[..., None, :], eye)
        return 0.5 * (H + self.xp.matrix_transpose(H))

    def solve_columns(self, H: Array, B: Array) -> Array:
        """Solve ``H X = B``; H may be indefinite, also without a ridge."""
        return solve_spd(H, B)

    def per_sample_grads(self, theta: Array) -> Array:
        """Return the rows ``grad l_i``, shape ``(..., n, p)``, by one backward pass each."""
        return self._by_sample(lambda one, t: self._calculus.pull(one, t, _unit(t)), theta)

    def per_sample_hvp(self, theta: Array, v: Array) -> Array:
        return self._by_sample(
            lambda one, t, u: self._calculus.curve(one, t, _unit(t), u), theta, v
        )

    # ------------------------------------------------------------------ elsewhere
    def batch(self, train: Any = None, val: Any = None) -> Self:
        return subset(
            self, train=("X", "y"), train_index=train, val=("X_val", "y_val"), val_index=val
        )

    def to(self, dtype: str | None = None, device: Any = None, xp: Any = None) -> Any:
        """Return the problem in another dtype or on another device; see :meth:`Problem.to`.

        ``xp=numpy`` gives the same problem behind NumPy arrays in and out, computed by torch: what
        SciPy and :mod:`warmflow.analysis` work on.
        """
        target = self.xp if xp is None else resolve_namespace(xp)
        if is_numpy_namespace(target):
            return Hosted(self.to(dtype=dtype, device=device))
        if not is_torch_namespace(target):
            raise ValueError(f"`xp` must be torch or numpy for a TorchProblem; got {xp!r}.")
        moved = super().to(dtype=dtype, device=device)
        moved._pass = self._pass.to(moved.X.device, dtype)
        moved._admit_loss()
        return moved

    def module_at(self, theta: Array) -> Any:
        """Return a copy of the module whose parameters are theta ``(p,)``, for use elsewhere."""
        theta = checks.array("theta", to_numpy(theta), shape=(self.num_params,))
        return self._pass.module_at(self.xp.asarray(theta, dtype=self.dtype, device=self.device))

    def fingerprint(self) -> str:
        """Return a hash of data, ridge, module and the losses of some samples at its parameters."""
        rows = np.arange(min(32, self.num_samples))
        values = to_numpy(self.batch(train=rows).per_sample_losses(self._pass.theta))
        shown = " ".join(f"{value:.5e}" for value in values.tolist())
        parts = (super().fingerprint(), self._pass.fingerprint(), shown)
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()

    @property
    def dtype(self) -> Any:
        return self._pass.theta.dtype

    @property
    def device(self) -> Any:
        return self._pass.theta.device

    # ------------------------------------------------------------------ kernels
    def _admit_loss(self) -> None:
        """Make the loss of each sample, on this problem's device, from what was given."""
        sets = {"train": (self.X, self.y), "val": (self.X_val, self.y_val)}
        if self.X_test is not None:
            sets["test"] = self.X_test, self.y_test
        admitted = []
        for name, (X, y) in sets.items():
            rows = telling_rows(y)
            out = self._pass.check(f"{name}[0]", X[rows])
            admitted.append(admit_loss(self._loss_as_given, out, y[rows]))
        self._loss = admitted[0]

    def _few(self) -> tuple[Samples, Samples]:
        """Return a few samples as they are, and in float64 where the module allows it."""
        few = self.batch(train=np.arange(min(8, self.num_samples)), val=[0])
        try:
            return few._train, few.to(dtype="float64")._train
        except (RuntimeError, ValueError, TypeError):
            return few._train, few._train

    @property
    def _train(self) -> Samples:
        return self._samples(self.X, self.y)

    @property
    def _val(self) -> Samples:
        return self._samples(self.X_val, self.y_val)

    def _samples(self, X: Array, y: Array) -> Samples:
        size = self.batch_size or len(y)
        parts = {"passing": self._pass, "loss": self._loss, "calculus": self._calculus}
        return Samples(X=X, y=y, at_once=size, **parts)  # type: ignore[arg-type]

    def _by_sample(self, act: Callable[..., Array], *args: Array) -> Array:
        """Return ``act(losses of one sample, ...)`` for each sample, shape ``(..., n, p)``."""
        size = self._at_once(1) if self._vmaps_samples else None
        train = self._train
        return self._over_cells(lambda *cell: train.each(act, cell, size), *args)

    def _over_cells(self, act: Callable[..., Array], *args: Array) -> Array:
        """Apply a function of one-dimensional arrays to every cell of the leading axes."""
        rows = min(self.batch_size or self.num_samples, max(self.num_samples, self.num_val))
        return over_cells(act, args, vmaps=self._vmaps, at_once=self._at_once(rows))

    def _at_once(self, rows: int) -> int:
        """Return how many cells of so many samples pass through the module at once."""
        return max(1, ROWS // rows)


def _unit(theta: Array) -> Array:
    """Return the weight 1 of a single sample."""
    return theta.new_ones(1)
