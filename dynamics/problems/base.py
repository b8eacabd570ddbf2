r"""The contract of a bilevel problem: five oracles, exact answers, and how they are derived.

.. math::

    G(\theta, w) = \sum_i w_i\, l_i(\theta) + \tfrac{\lambda}{2}|\theta|^2, \qquad
    F(\theta) = \tfrac1m \sum_j l'_j(\theta), \qquad h(w) = F(\theta^\star(w)).

With :math:`J = [\nabla l_1 \dots \nabla l_n]` and :math:`H = \nabla^2_\theta G`, the hypergradient
field is :math:`\Psi(\theta, w) = -J^\top H^{-1} \nabla F(\theta)`, and
:math:`\nabla h(w) = \Psi(\theta^\star(w), w)`.
"""

from __future__ import annotations

import copy
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property
from importlib import import_module
from typing import Any, ClassVar, Self

import numpy as np

from .. import checks
from ..linalg import cg, solve_spd
from ..namespaces import resolve_namespace, to_numpy
from ..status import ConvergenceError
from ..types import Array, Namespace

__all__ = ["DENSE_LIMIT", "ORACLES", "Problem"]

ORACLES = ("val_grad", "train_grad", "hvp", "per_sample_jvp", "per_sample_losses")
"""The five oracles, the only functions of a problem that a method may call."""

DENSE_LIMIT = 500
"""Largest p for which an adjoint is found by a dense factorisation rather than by CG."""


class Problem(ABC):
    r"""A bilevel data-reweighting problem.

    ``theta`` is ``(..., p)``, ``w`` is ``(..., n)``; a result has the broadcast leading axes of all
    arguments, also of those that its formula does not use. Oracles do not validate, and accept any
    finite w: finite differences and unnormalised weights need that. They expect arrays of the
    problem's namespace, dtype and device, and return the same.

    Attributes
    ----------
    num_samples, num_params : int
        n and p.
    ridge : float
        The regularisation :math:`\lambda`, outside the weighted sum.
    clean : (n,) bool or None
        Which samples are known to be clean; used by reports, never by a method.
    sampler : callable or None
        Step to the distinct training samples of its mini-batch, for methods with ``batch_size``;
        None lets them draw by themselves.
    capabilities : frozenset of str
        Which of ``theta_star``, ``hessian``, ``constants`` the problem can answer.
    """

    _arrays: ClassVar[tuple[str, ...]] = ()
    num_samples: int
    num_params: int
    ridge: float
    xp: Namespace
    clean: np.ndarray | None
    sampler: Callable[[int], np.ndarray] | None = None

    # ------------------------------------------------------------------ the five oracles
    @abstractmethod
    def val_grad(self, theta: Array) -> Array:
        r"""Return :math:`\nabla F(\theta)`, shape ``(..., p)``."""

    @abstractmethod
    def train_grad(self, theta: Array, w: Array) -> Array:
        r"""Return :math:`\nabla_\theta G = J w + \lambda\theta`, shape ``(..., p)``."""

    @abstractmethod
    def hvp(self, theta: Array, w: Array, v: Array) -> Array:
        """Return ``H(theta, w) v``, shape ``(..., p)``."""

    @abstractmethod
    def per_sample_jvp(self, theta: Array, v: Array) -> Array:
        r"""Return :math:`J^\top v`, entries :math:`\nabla l_i\cdot v`, shape ``(..., n)``."""

    @abstractmethod
    def per_sample_losses(self, theta: Array) -> Array:
        r"""Return :math:`l_i(\theta)`, shape ``(..., n)``."""

    # ------------------------------------------------------------------ values
    def per_sample_hvp(self, theta: Array, v: Array) -> Array:
        r"""Return the dense rows :math:`\nabla^2 l_i(\theta)\,v`, shape ``(..., n, p)``.

        Comes with the capability ``hessian``.
        """
        raise ValueError(f"`problem` ({type(self).__name__}) has no per_sample_hvp.")

    @abstractmethod
    def val_loss(self, theta: Array) -> Array:
        r"""Return :math:`F(\theta)`, shape ``(...)``."""

    def train_loss(self, theta: Array, w: Array) -> Array:
        r"""Return :math:`G(\theta, w)`, shape ``(...)``."""
        xp = self.xp
        fit = xp.sum(w * self.per_sample_losses(theta), axis=-1)
        return fit + 0.5 * self.ridge * xp.sum(theta * theta, axis=-1)

    def test_loss(self, theta: Array) -> Array:
        """Return the mean loss on the independent test set, shape ``(...)``."""
        raise ValueError(
            "`problem` has no test set; pass `test=(X_test, y_test)` to its constructor."
        )

    @property
    @abstractmethod
    def num_val(self) -> int:
        """Number of validation samples, m."""

    @property
    def has_test(self) -> bool:
        """Whether an independent test set is there."""
        return False

    @property
    def has_accuracy(self) -> bool:
        """Whether predictions are classes, so that ``test_accuracy`` means something."""
        return False

    def test_accuracy(self, theta: Array) -> Array:
        """Return the accuracy on the independent test set, shape ``(...)``."""
        raise ValueError(f"`problem` ({type(self).__name__}) has no test_accuracy.")

    # ------------------------------------------------------------------ optional capabilities
    @property
    def is_convex(self) -> bool:
        """Whether G(., w) is known to be convex, so that ``theta_star`` is a global minimiser."""
        return True

    @property
    def capabilities(self) -> frozenset[str]:
        """Names of the optional answers that this problem can give."""
        return frozenset()

    def require(self, needs: frozenset[str] | tuple[str, ...], who: str) -> None:
        """Raise ``ValueError`` naming the capabilities that ``who`` needs and the problem lacks."""
        missing = sorted(set(needs) - self.capabilities)
        if missing:
            offers = ", ".join(sorted(self.capabilities)) or "none of the optional answers"
            raise ValueError(
                f"`problem` ({type(self).__name__}) lacks {', '.join(missing)}, which {who} "
                f"requires; it offers {offers}."
            )

    def theta_star(self, w: Array, guess: Array | None = None) -> Array:
        r"""Return the inner minimiser :math:`\theta^\star(w)`, shape ``(..., p)``."""
        raise ValueError(f"`problem` ({type(self).__name__}) has no theta_star.")

    def hessian(self, theta: Array, w: Array) -> Array:
        """Return the dense ``H(theta, w)``, shape ``(..., p, p)``."""
        raise ValueError(f"`problem` ({type(self).__name__}) has no dense hessian.")

    def constants(self) -> tuple[float, float]:
        """Return ``(mu, L)`` with ``mu I <= H(theta, w) <= L I`` for w in the simplex."""
        raise ValueError(f"`problem` ({type(self).__name__}) has no constants.")

    # ------------------------------------------------------------------ derived answers
    def hvp_at(self, theta: Array, w: Array) -> Callable[[Array], Array]:
        """Return ``v -> H(theta, w) v``; what depends on theta alone may be computed once."""
        return lambda v: self.hvp(theta, w, v)

    def adjoint(
        self, theta: Array, w: Array, tol: float = 1e-12, guess: Array | None = None
    ) -> Array:
        r"""Return :math:`v = H(\theta, w)^{-1}\nabla F(\theta)`, shape ``(..., p)``.

        By a dense factorisation up to p = ``DENSE_LIMIT`` where the problem has a Hessian, else by
        conjugate gradients from ``guess`` to a residual of ``tol`` times the norm of grad F.

        Raises
        ------
        ConvergenceError
            When conjugate gradients do not reach ``tol``.
        """
        if "hessian" in self.capabilities and self.num_params <= DENSE_LIMIT:
            return self.solve(self.hessian(theta, w), self.val_grad(theta))
        lead = np.broadcast_shapes(tuple(theta.shape[:-1]), tuple(w.shape[:-1]))
        g = self.in_range(self.val_grad(theta))
        g = self.xp.broadcast_to(g, (*lead, self.num_params))
        tol = max(tol, 10.0 * float(self.xp.finfo(g.dtype).eps))
        result = cg(self.hvp_at(theta, w), g, guess=guess, tol=tol)
        if not result.converged:
            worst = float(self.xp.max(result.residual))
            raise ConvergenceError(
                f"the adjoint stopped at a relative residual of {worst:.1e} after "
                f"{result.num_iterations} conjugate gradient steps; loosen `tol` ({tol:.0e}) or "
                f"raise `ridge` ({self.ridge:g})."
            )
        return result.x

    def solve(self, H: Array, b: Array) -> Array:
        """Solve ``H x = b`` for dense Hessians of this problem; minimum norm where H lacks rank."""
        return self.solve_columns(H, b[..., None])[..., 0]

    def solve_columns(self, H: Array, B: Array) -> Array:
        """Solve ``H X = B`` for the columns of ``B (..., p, k)``; see :meth:`solve`."""
        return solve_spd(H, B, may_be_singular=self.ridge == 0)

    def in_range(self, b: Array) -> Array:
        """Return the part of ``b (..., p)`` in the range of H; all of it where H has full rank."""
        return b

    def per_sample_grads(self, theta: Array) -> Array:
        r"""Return the dense :math:`\Gamma = J^\top`, rows ``grad l_i``, shape ``(..., n, p)``.

        Here by p jvps, one for each column.
        """
        eye = self.xp.eye(self.num_params, dtype=theta.dtype, device=theta.device)
        return self.xp.matrix_transpose(self.per_sample_jvp(theta[..., None, :], eye))

    def hypergradient(
        self, theta: Array, w: Array, tol: float = 1e-12, guess: Array | None = None
    ) -> Array:
        r"""Return :math:`\Psi(\theta, w) = -J(\theta)^\top H(\theta, w)^{-1}\nabla F(\theta)`.

        Parameters
        ----------
        theta : (..., p)
        w : (..., n)
        tol : float
            Relative residual of the adjoint system, where it is solved by conjugate gradients.
        guess : (..., p), optional
            First iterate for the adjoint.

        Returns
        -------
        (..., n)
            [IA23] section 3; the gradient of h where ``theta = theta_star(w)``.
        """
        return -self.per_sample_jvp(theta, self.adjoint(theta, w, tol=tol, guess=guess))

    def outer_loss(self, w: Array) -> Array:
        r"""Return :math:`h(w) = F(\theta^\star(w))`, shape ``(...)``."""
        return self.val_loss(self.theta_star(w))

    def outer_grad(self, w: Array, tol: float = 1e-12) -> Array:
        r"""Return :math:`\nabla h(w) = \Psi(\theta^\star(w), w)`, shape ``(..., n)``."""
        return self.hypergradient(self.theta_star(w), w, tol=tol)

    def initial_theta(self, w0: Array) -> Array:
        """Return where runs start by default: ``theta_star(w0)`` where it exists, else zero.

        Raises
        ------
        ValueError
            When ``theta_star(w0)`` cannot be computed.
        """
        if "theta_star" in self.capabilities:
            try:
                return self.theta_star(w0)
            except (ConvergenceError, np.linalg.LinAlgError) as error:
                raise ValueError(
                    f"`theta0` must be given: theta_star(w0) failed ({error})"
                ) from None
        return self.xp.zeros_like(w0[..., :1]) + self.xp.zeros(
            self.num_params, dtype=w0.dtype, device=w0.device
        )

    # ------------------------------------------------------------------ the same problem elsewhere
    @abstractmethod
    def batch(self, train: Any = None, val: Any = None) -> Self:
        """Return the same problem on a subset of its training and validation samples.

        ``train`` and ``val`` are one-dimensional index arrays, shared by all leading axes, or None
        for all samples. A method passes ``w[..., train] * n / len(train)`` with it, which keeps
        gradients unbiased.
        """

    def to(self, dtype: str | None = None, device: Any = None, xp: Any = None) -> Self:
        """Return the problem with its data in another dtype, device or array library.

        Parameters
        ----------
        dtype : {"float32", "float64"}, optional
        device : optional
            As the array library spells it.
        xp : module, optional
            ``numpy``, ``torch``, ``cupy`` or another array-API library.
        """
        if dtype is not None:
            checks.choice("dtype", dtype, ("float32", "float64"))
        target = self.xp if xp is None else resolve_namespace(xp)
        moved = self._clone()
        moved.xp = target
        for name in self._arrays:
            value = getattr(self, name)
            if value is not None:
                setattr(moved, name, _move(value, self.xp, target, dtype, device))
        return moved

    def _clone(self) -> Self:
        """Return a shallow copy without the values that are cached from the arrays."""
        clone = copy.copy(self)
        for kind in type(self).__mro__:
            for name, member in vars(kind).items():
                if isinstance(member, cached_property):
                    clone.__dict__.pop(name, None)
        return clone

    def with_ridge(self, ridge: float) -> Self:
        """Return the same problem with another ridge >= 0."""
        other = self._clone()
        other.ridge = checks.nonnegative("ridge", ridge)
        return other

    def __copy__(self) -> Self:
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        return other

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled: a module, such as the array library, goes by its name."""
        return {**self._clone().__dict__, "xp": self.xp.__name__}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state | {"xp": import_module(state["xp"])})

    def fingerprint(self) -> str:
        """Return a hash of the problem's data and ridge, for provenance."""
        digest = hashlib.sha256(f"{type(self).__name__} {self.ridge!r}".encode())
        for name in self._arrays:
            value = getattr(self, name)
            if value is not None:
                array = np.ascontiguousarray(to_numpy(value))
                digest.update(f"{name} {array.shape} {array.dtype}".encode())
                digest.update(array.tobytes())
        return digest.hexdigest()

    @property
    def dtype(self) -> Any:
        """The floating dtype of the problem's data."""
        return getattr(self, self._arrays[0]).dtype

    @property
    def device(self) -> Any:
        """The device of the problem's data."""
        return getattr(self, self._arrays[0]).device


def _move(
    value: Array, source: Namespace, target: Namespace, dtype: str | None, device: Any
) -> Array:
    """Return ``value`` in ``target``; only floating arrays change their dtype."""
    is_float = source.isdtype(value.dtype, "real floating")
    if target is not source:
        value = to_numpy(value)
    wanted = getattr(target, dtype) if dtype is not None and is_float else None
    return target.asarray(value, dtype=wanted, device=device, copy=True)
