"""How losses, data and operations may come, and that they mean the same."""

import functools

import numpy as np
import pytest
from numpy.testing import assert_allclose

from warmflow.dynamics import methods, run_method

pytest.importorskip("torch", reason="torch is not installed")
from .modules import OldLinear, cross_entropy, half_square, nn, torch
from .test_admission import LABELS, RNG, TARGETS, F, Twisting, X, make

REDUCED = {
    "mean": cross_entropy,
    "function": F.cross_entropy,
    "module": nn.CrossEntropyLoss(),
    "sum": nn.CrossEntropyLoss(reduction="sum"),
    "none": nn.CrossEntropyLoss(reduction="none"),
    "column": lambda out, y: cross_entropy(out, y)[:, None],
}


@pytest.mark.parametrize("loss", REDUCED.values(), ids=REDUCED.keys())
def test_losses_in_every_common_form_mean_the_same(loss) -> None:
    torch.manual_seed(0)
    q = make(loss=loss, dtype="float64")
    theta = q.initial_theta(torch.ones(8, dtype=torch.float64))
    expected = cross_entropy(q.module_at(theta)(q.X), q.y).detach()
    assert_allclose(q.per_sample_losses(theta), expected, rtol=1e-12)
    assert_allclose(q.val_loss(theta), expected.mean(), rtol=1e-12)


def test_class_weights_are_kept_where_the_loss_is_per_sample() -> None:
    weights = torch.tensor([1.0, 2.0, 5.0])
    q = make(loss=nn.CrossEntropyLoss(weight=weights, reduction="none"), dtype="float64")
    theta = q.initial_theta(torch.ones(8, dtype=torch.float64))
    plain = make(q.module_at(theta), dtype="float64").per_sample_losses(theta)
    assert_allclose(q.per_sample_losses(theta), plain * weights.double()[q.y], rtol=1e-12)


@pytest.mark.parametrize("convert", [np.asarray, torch.as_tensor, lambda a: a.tolist()])
def test_data_come_as_arrays_tensors_or_lists(convert) -> None:
    q = make(train=(convert(X), convert(LABELS)))
    assert (q.X.dtype, q.y.dtype) == (torch.float32, torch.int64)
    assert_allclose(q.X, X, rtol=1e-6)


def test_data_come_as_datasets_of_torch() -> None:
    data = torch.utils.data.TensorDataset(torch.as_tensor(X), torch.as_tensor(LABELS))
    q = make(train=data, val=torch.utils.data.Subset(data, [3, 1]), dtype="float64")
    np.testing.assert_array_equal(q.X, X)
    np.testing.assert_array_equal(q.X_val, X[[3, 1]])
    np.testing.assert_array_equal(q.y_val, LABELS[[3, 1]])


def test_the_problem_keeps_its_own_copy_of_the_data() -> None:
    own = X.copy()
    q = make(train=(own, LABELS), dtype="float64")
    own[:] = 7.0
    assert_allclose(q.X, X)


@pytest.mark.parametrize("dtype", ["float64", torch.float64])
def test_the_dtype_is_that_of_the_module_unless_one_is_given(dtype) -> None:
    assert make().dtype == torch.float32
    assert make(nn.Linear(4, 3).double()).dtype == torch.float64
    assert make(dtype=dtype).dtype == torch.float64


def test_inputs_may_be_integers() -> None:
    tokens = RNG.integers(0, 9, size=(8, 5))
    module = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(20, 3))
    q = make(module, train=(tokens, LABELS))
    assert q.calculus == "forward"
    assert q.X.dtype == torch.int64


class Sampled(nn.Module):
    """Values of a grid at learnt places."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 6), nn.Linear(3, 3)

    def forward(self, x):
        places = torch.tanh(self.first(x)).reshape(-1, 1, 3, 2)
        grid = torch.arange(16.0, dtype=x.dtype).sin().reshape(1, 1, 4, 4).expand(len(x), 1, 4, 4)
        return self.last(F.grid_sample(grid, places, align_corners=False).flatten(1))


def test_an_operation_without_forward_mode_is_said_aloud_and_right() -> None:
    torch.manual_seed(0)
    with pytest.warns(UserWarning, match=r"no usable forward-mode.*grid_sample.*twice the cost"):
        q = make(Sampled(), dtype="float64")
    assert q.calculus == "double backward"
    p, rng = q.to(xp=np), np.random.default_rng(0)
    w, v = rng.dirichlet(np.ones(8)), rng.normal(size=q.num_params)
    theta = p.initial_theta(w)
    ends = [
        (p.per_sample_losses(t), p.train_grad(t, w)) for t in (theta + 1e-6 * v, theta - 1e-6 * v)
    ]
    numeric = [(a - b) / 2e-6 for a, b in zip(*ends, strict=True)]
    assert_allclose(p.per_sample_jvp(theta, v), numeric[0], rtol=1e-6, atol=1e-8)
    assert_allclose(p.hvp(theta, w, v), numeric[1], rtol=1e-6, atol=1e-8)


def test_runs_by_double_backward_are_those_by_forward_mode() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    old = nn.Sequential(OldLinear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    old.load_state_dict(module.state_dict())
    with pytest.warns(UserWarning, match="setup_context"):
        q = make(old, dtype="float64")
    method = methods.ConjugateGradient(rho=0.1, eta=0.5)
    runs = [run_method(p, method, 8) for p in (q, make(module, dtype="float64"))]
    assert_allclose(runs[0].w, runs[1].w, rtol=1e-9)
    assert_allclose(runs[0].theta, runs[1].theta, rtol=1e-9, atol=1e-12)


def test_a_forward_mode_that_contradicts_the_backward_pass_is_not_used() -> None:
    with pytest.warns(UserWarning, match="forward and backward derivatives do not belong together"):
        assert make(Twisting(), dtype="float64").calculus == "double backward"


def normed() -> nn.Module:
    torch.manual_seed(0)
    return nn.utils.parametrizations.weight_norm(nn.Linear(4, 3))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_wrong_second_derivatives_are_refused(dtype: str) -> None:
    """Those of weight_norm on a CPU: against the same map in basic operations, and by the probe."""
    layer = normed().double()
    names, X64 = [name for name, _ in layer.named_parameters()], torch.as_tensor(X)
    assert names[0] == "bias"

    def fused(bias, size, raw):
        values = dict(zip(names, (bias, size, raw), strict=True))
        return torch.func.functional_call(layer, values, (X64,)).square().sum()

    def plain(bias, size, raw):
        return (X64 @ (size * raw / raw.norm(dim=1, keepdim=True)).T + bias).square().sum()

    def bend(f):
        at = [a.detach().clone().requires_grad_() for a in layer.parameters()]
        slope = torch.autograd.grad(f(*at), at[2], create_graph=True)[0]
        return torch.autograd.grad(slope.sum(), at[2])[0]

    if torch.allclose(bend(fused), bend(plain)):
        pytest.skip("this torch has right second derivatives of weight_norm")
    with pytest.raises(ValueError, match="second derivatives are not those of the first ones"):
        make(normed(), dtype=dtype)


def test_double_backward_takes_leading_axes_cell_by_cell() -> None:
    with pytest.warns(UserWarning, match="second backward passes"):
        q = make(OldLinear(4, 1), half_square, (X, TARGETS), dtype="float64")
    theta = torch.as_tensor(RNG.normal(size=(3, 2, 5)))
    singles = [[q.per_sample_losses(b) for b in a] for a in theta]
    assert_allclose(q.per_sample_losses(theta), [[b.numpy() for b in a] for a in singles])


def test_constants_that_the_user_vouches_for() -> None:
    q = make(constants=(0.1, 5.0))
    assert "constants" in q.capabilities
    assert q.constants() == (0.1, 5.0)
    assert q.is_convex
    with pytest.raises(ValueError, match="lacks constants"):
        run_method(make(), methods.SOBA(), num_steps=1)


class Attending(nn.Module):
    """Attention by torch's function, which is fused by default."""

    def __init__(self) -> None:
        super().__init__()
        self.mix, self.out = nn.Linear(1, 12), nn.Linear(4, 3)

    def forward(self, x):
        q, k, v = self.mix(x[..., None]).chunk(3, -1)
        return self.out(
            F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0].mean(1)
        )


def test_attention_by_function_is_computed_by_plain_operations() -> None:
    assert make(Attending()).calculus == "forward"
    assert torch.backends.mha.get_fastpath_enabled()


class PerSample(nn.Module):
    """Python decides by an input: samples cannot be vectorised, thetas can."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x):
        rows = [torch.tanh(self.one(r)) if float(r[0]) > 0 else self.two(r) for r in x]
        return torch.stack(rows)


def test_per_sample_gradients_of_what_cannot_be_vectorised() -> None:
    torch.manual_seed(0)
    q = make(PerSample(), dtype="float64")
    theta = q.initial_theta(torch.ones(8, dtype=torch.float64))
    v = torch.cos(torch.arange(q.num_params, dtype=torch.float64))
    assert_allclose(q.per_sample_grads(theta) @ v, q.per_sample_jvp(theta, v), rtol=1e-10)


def test_without_a_ridge_indefinite_systems_are_solved_and_not_cut() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 1))
    q = make(module, half_square, (X, TARGETS), ridge=0.0, dtype="float64")
    theta = torch.randn(q.num_params, dtype=torch.float64)
    w = torch.full((8,), 0.125, dtype=torch.float64)
    H = q.hessian(theta, w)
    assert torch.linalg.eigvalsh(H)[0] < 0
    assert_allclose(H @ q.adjoint(theta, w), q.val_grad(theta), rtol=1e-6, atol=1e-9)


def test_the_fingerprint_knows_what_the_loss_computes() -> None:
    torch.manual_seed(0)
    module = nn.Linear(4, 3)
    partials = [functools.partial(F.cross_entropy, reduction="none") for _ in range(2)]
    same = [make(module, loss).fingerprint() for loss in (cross_entropy, *partials)]
    other = make(module, lambda out, y: 5.0 * cross_entropy(out, y)).fingerprint()
    assert len({*same}) == 1
    assert other != same[0]
