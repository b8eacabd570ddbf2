"""Softmax regression against automatic differentiation, which shares no formula with it."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from .cases import case, softmax

torch = pytest.importorskip("torch", reason="torch is not installed")


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
def test_oracles_equal_automatic_derivatives() -> None:
    c = case(softmax())
    q, v = c.problem, np.linspace(-1, 1, c.theta.size)
    X, labels = torch.from_numpy(q.X), torch.from_numpy(q.labels)
    X_val, labels_val = torch.from_numpy(q.X_val), torch.from_numpy(q.labels_val)
    theta, w = torch.from_numpy(c.theta), torch.from_numpy(c.w)

    def losses(theta):
        logits = X @ theta.reshape(3, 3)
        return torch.nn.functional.cross_entropy(logits, labels, reduction="none")

    def inner(theta):
        return w @ losses(theta) + 0.5 * q.ridge * (theta**2).sum()

    def outer(theta):
        logits = X_val @ theta.reshape(3, 3)
        return torch.nn.functional.cross_entropy(logits, labels_val)

    func = torch.func
    H = func.hessian(inner)(theta)
    jvp = func.jvp(losses, (theta,), (torch.from_numpy(v),))[1]
    close = {"rtol": 1e-10, "atol": 1e-12}
    assert_allclose(q.per_sample_losses(c.theta), losses(theta), **close)
    assert_allclose(q.train_grad(c.theta, c.w), func.grad(inner)(theta), **close)
    assert_allclose(q.val_grad(c.theta), func.grad(outer)(theta), **close)
    assert_allclose(q.hessian(c.theta, c.w), H, **close)
    assert_allclose(q.hvp(c.theta, c.w, v), H @ torch.from_numpy(v), **close)
    assert_allclose(q.per_sample_jvp(c.theta, v), jvp, **close)
    adjoint = torch.linalg.solve(H, func.grad(outer)(theta))
    psi = -func.jacrev(losses)(theta) @ adjoint
    assert_allclose(q.hypergradient(c.theta, c.w), psi, rtol=1e-9, atol=1e-11)
