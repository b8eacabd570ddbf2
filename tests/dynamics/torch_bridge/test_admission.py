"""What is refused, and how losses and data may be given."""

import sys

import numpy as np
import pytest

from warmflow.dynamics.torch_bridge import TorchProblem

from ..cases import Refusals, refusals
from .modules import cross_entropy, nn, torch

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


class Listed(torch.utils.data.Dataset):
    def __init__(self, items: list) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, k: int):
        return self.items[k]


def weighted_mean(out, y):
    return F.cross_entropy(out, y, weight=torch.tensor([1.0, 2.0, 5.0], dtype=out.dtype))


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
        r"got a weighted mean: pass `reduction='none'`",
    ),
    "loss of a weighted mean, sorted": (
        lambda: make(loss=weighted_mean, train=(X, np.arange(8) // 4)), ValueError,
        r"neither the mean nor the sum.*reduction='none'",
    ),
    "loss without a gradient": (
        lambda: make(loss=lambda out, y: (out.argmax(1) != y).float()), ValueError,
        r"losses do not depend on its parameters by differentiable operations",
    ),
    "ignored label": (
        lambda: make(
            loss=nn.CrossEntropyLoss(ignore_index=1), train=(X, np.array([0, 2] * 3 + [0, 1]))
        ),
        ValueError, r"`loss` must",
    ),
    "padding": (
        lambda: make(
            nn.Sequential(nn.Embedding(9, 3, padding_idx=0), nn.Flatten()),
            train=(LABELS[:, None], LABELS),
        ),
        ValueError, r"Embedding \(at '0'\) with `padding_idx` masks them: pass padding_idx=None",
    ),
    "half precision module": (
        lambda: make(nn.Linear(4, 3).bfloat16()), ValueError, r"`dtype` must be one of .*bfloat16",
    ),
    "meta": (lambda: make(nn.Linear(4, 3, device="meta")), ValueError, r"on the meta device"),
    "device": (lambda: make(device="nowhere"), ValueError, r"`device` must be one that works here"),
    "none": (lambda: make(train=(X, None)), TypeError, r"`train\[1\]` must be a tensor or a rec"),
    "ragged": (
        lambda: make(train=([[1, 2], [1]], [0, 1])), TypeError, r"`train\[0\]` must be a tensor",
    ),
    "dataset of dicts": (
        lambda: make(train=Listed([({"a": 1.0}, 0)] * 4)), TypeError, r"`train` must have tensors",
    ),
    "ragged dataset": (
        lambda: make(train=Listed([(torch.zeros(k + 1), 0) for k in range(4)])), TypeError,
        r"`train` cannot be stacked",
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
