"""What is refused, and how losses and data may be given."""

import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose

from warmflow.dynamics import methods, run_method
from warmflow.dynamics.torch_bridge import TorchProblem

from ..cases import Refusals, refusals
from .modules import OldLinear, cross_entropy, half_square, nn, torch

F = nn.functional
RNG = np.random.default_rng(0)
X, LABELS, TARGETS = RNG.normal(size=(8, 4)), np.arange(8) % 3, RNG.normal(size=8)


def make(module=None, loss=cross_entropy, train=(X, LABELS), val=None, **options):
    module = nn.Linear(4, 3) if module is None else module
    return TorchProblem(module, loss, train, train if val is None else val, **options)


def chain(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 6), *layers, nn.Linear(6, 3))


class Noisy(nn.Module):
    """Random where no layer's name tells."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x):
        return F.dropout(self.layer(x), 0.5, training=True)


class Mixing(Noisy):
    def forward(self, x):
        return self.layer(x - x.mean(0))


class Counting(Noisy):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return self.layer(x)


class Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        return grad


class OnceOnly(Noisy):
    def forward(self, x):
        return Once.apply(self.layer(x))


class Twisted(torch.autograd.Function):
    """The identity, with the forward mode of another function."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        return x.clone()

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, grad):
        return grad

    @staticmethod
    def jvp(ctx, tangent):
        return 3.0 * tangent


class Twisting(Noisy):
    def forward(self, x):
        return Twisted.apply(self.layer(x))


class Pair(Noisy):
    def forward(self, x):
        return self.layer(x), x


class Recurrent(Noisy):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTM(4, 4, num_layers=2, dropout=0.3)


def wrapped() -> nn.Module:
    return torch.compile(nn.Linear(4, 3))


def compiled_inside() -> nn.Module:
    module = chain()
    module[0].compile()
    return module


REFUSED: Refusals = {
    "no module": (lambda: make(lambda x: x), TypeError, r"`module` must be a torch.nn.Module; got"),
    "data parallel": (
        lambda: make(nn.DataParallel(nn.Linear(4, 3))), ValueError, r"DataParallel; pass `module",
    ),
    "batch norm": (
        lambda: make(chain(nn.BatchNorm1d(6))), ValueError,
        r"BatchNorm1d in training mode \(at '1'\), where a loss depends on the whole batch",
    ),
    "batch norm of the batch": (
        lambda: make(chain(nn.BatchNorm1d(6, track_running_stats=False)).eval()), ValueError,
        r"without running statistics \(at '1'\), which mixes them in every mode",
    ),
    "dropout": (
        lambda: make(chain(nn.Dropout(0.2))), ValueError, r"got Dropout in training mode \(at '1",
    ),
    "recurrent dropout": (lambda: make(Recurrent()), ValueError, r"got LSTM in training mode"),
    "hidden noise": (lambda: make(Noisy()), ValueError, r"must be deterministic: two forward"),
    "hidden mixing": (lambda: make(Mixing()), ValueError, r"must treat samples one by one"),
    "buffers": (lambda: make(Counting()), ValueError, r"must not change its buffers"),
    "bag": (
        lambda: make(nn.EmbeddingBag(9, 3), train=(LABELS[:, None], LABELS)), ValueError,
        r"second derivatives: the derivative for '_embedding_bag_backward'",
    ),
    "once": (lambda: make(OnceOnly()), ValueError, r"`module` must have second derivatives: "),
    "lazy": (lambda: make(nn.LazyLinear(3)), ValueError, r"a parameter without a shape yet"),
    "complex": (
        lambda: make(nn.Linear(4, 3, dtype=torch.complex64)), ValueError, r"real parameters; 'weig",
    ),
    "nothing to train": (
        lambda: make(nn.Linear(4, 3).requires_grad_(False)), ValueError, r"requires a gradient",
    ),
    "two outputs": (lambda: make(Pair()), TypeError, r"`module` must return one tensor; got tuple"),
    "inputs that do not fit": (
        lambda: make(nn.Linear(5, 3)), ValueError, r"`module` cannot compute .*\(8, 4\)",
    ),
    "half precision": (lambda: make(dtype="float16"), ValueError, r"`dtype` must be one of flo"),
    "no loss": (lambda: make(loss=3), TypeError, r"`loss` must be callable; got int"),
    "loss that fails": (
        lambda: make(train=(X, TARGETS)), ValueError, r"`loss` cannot be computed for outputs",
    ),
    "loss that is no tensor": (
        lambda: make(loss=lambda out, y: 1.0), TypeError, r"`loss` must return a tensor; got float",
    ),
    "loss of pairs": (
        lambda: make(nn.Linear(4, 1), lambda out, y: (out - y) ** 2, (X, TARGETS)), ValueError,
        r"`loss` must return one number for each of the 8 samples.*\(8, 8\)",
    ),
    "loss of a weighted mean": (
        lambda: make(loss=nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 5.0]))), ValueError,
        r"neither the mean nor the sum.*reduction='none'",
    ),
    "infinite loss": (
        lambda: make(loss=lambda out, y: out[:, 0] / 0.0), ValueError, r"`loss` must be finite",
    ),
    "no pair": (lambda: make(train=X), TypeError, r"`train` must be a pair \(inputs, targets\)"),
    "unequal pair": (lambda: make(train=(X, LABELS[:5])), ValueError, r"8 inputs and 5 targets"),
    "nan": (
        lambda: make(train=(np.full((8, 4), np.nan), LABELS)), ValueError, r"`train\[0\]` must be",
    ),
    "nan in val": (
        lambda: make(val=(np.full((8, 4), np.nan), LABELS)), ValueError, r"`val\[0\]` must be fini",
    ),
    "ridge": (lambda: make(ridge=-1.0), ValueError, r"`ridge` must be >= 0; got -1.0"),
    "batch size": (lambda: make(batch_size=0), ValueError, r"`batch_size` must be >= 1; got 0"),
    "clean": (lambda: make(clean=np.ones(3, bool)), ValueError, r"`clean` must have shape"),
    "constants": (lambda: make(constants=(2.0, 1.0)), ValueError, r"0 <= mu <= L"),
    "constants of one": (lambda: make(constants=2.0), TypeError, r"`constants` must be a pair"),
    "to jax": (lambda: make().to(xp=Fake), ValueError, r"`xp` must be torch or numpy"),
}  # fmt: skip


class Fake:
    """Looks like an array library."""

    asarray = staticmethod(np.asarray)

    @staticmethod
    def zeros(n: int):
        import array_api_strict

        return array_api_strict.zeros(n)


@refusals(REFUSED)
def test_refused_with_the_reason_and_the_cure(call, error, match) -> None:
    with pytest.raises(error, match=match):
        call()


@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method.*:DeprecationWarning")
def test_compiled_modules_are_refused_and_the_original_is_taken() -> None:
    module = wrapped()
    with pytest.raises(ValueError, match=r"must not be compiled.*module\._orig_mod"):
        make(module)
    with pytest.raises(ValueError, match=r"compiled \(at '0'\)"):
        make(compiled_inside())
    assert make(module._orig_mod).num_params == 15


def test_without_torch_the_cure_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r"needs torch.*pip install 'warmflow\[torch\]'") as error:
        make(module=object())
    assert "\n" not in str(error.value)


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
