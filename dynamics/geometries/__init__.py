r"""Geometries of the weights: how a step along a field g becomes new weights.

Every method computes a field g (in the scale of :math:`\Psi`) and leaves it to a geometry what one
step of size eta along -g does. In continuous time, with :math:`P(w) = \mathrm{diag}(w) - ww^\top`:

======================  ===========================================  ==============================
geometry                one step                                     flow
======================  ===========================================  ==============================
`Mirror`                w+ ~ w exp(-eta g)                           w' = -beta P(w) g
`SoftmaxLogits`         s+ = s - eta P(w) g, w = softmax(s)          w' = -beta P(w)^2 g
`Sigmoid`               s+ = s - eta D g, w = cap sigmoid(s)         w' = -beta D^2 g
`Projection`            w+ = proj(w - eta g)                         w' = -beta proj_T(g)
`ClippedNormalised`     w+ ~ max(w - eta g, 0)                       w' = -beta (g - w sum g)
`Groups`                one of the above for the weights of groups   w_i = omega_k(i) / n_k(i)
`Parametric`            phi+ = phi - eta A' P(w) g, w ~ w0 e^A phi   w' = -beta P(w) A A' P(w) g
`Penalised`             one of the above along g + a penalty's       tau log w + kappa n w in g
`Mixed`                 one of the above for v, along (1 - share) g  w = (1 - share) v + share / n
`Floored`               one of the above, then w_i >= floor / n      as inner, where w is above
`Averaged`              v moves, w+ = memory w + (1 - memory) v+     w' = kappa (v - w)
======================  ===========================================  ==============================

D is ``diag(w (1 - w/cap))``; ``proj_T`` projects onto the tangent cone of the simplex. Rest points
inside the simplex are those with g constant for the first two and the fourth, g = 0 for `Sigmoid`
(no constraint couples its weights), and g proportional to w for `ClippedNormalised`, which is
therefore no descent method for h. Speeds differ: on one sample's scale 1/n, a step of `Mirror` is
n times a step of `SoftmaxLogits`.

The last four and `Groups` are wrappers: they change one thing about an ``inner`` geometry, and they
nest.

State the geometry wherever weights are compared: "at most p nonzeros" speaks of `Mirror`.
"""

from __future__ import annotations

from .averaged import Averaged
from .base import Geometry, Wrapper
from .euclidean import ClippedNormalised, Projection
from .floored import Floored
from .groups import Groups
from .logits import Mirror, Sigmoid, SoftmaxLogits
from .mixed import Mixed
from .parametric import Parametric
from .penalised import Penalised

__all__ = [
    "Averaged",
    "ClippedNormalised",
    "Floored",
    "Geometry",
    "Groups",
    "Mirror",
    "Mixed",
    "Parametric",
    "Penalised",
    "Projection",
    "Sigmoid",
    "SoftmaxLogits",
    "Wrapper",
]
