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
`Penalised`             one of the above along g + a penalty's       tau log w + kappa n w in g
======================  ===========================================  ==============================

D is ``diag(w (1 - w/cap))``; ``proj_T`` projects onto the tangent cone of the simplex. Rest points
inside the simplex are those with g constant for the first two and the fourth, g = 0 for `Sigmoid`
(no constraint couples its weights), and g proportional to w for `ClippedNormalised`, which is
therefore no descent method for h. Speeds differ: on one sample's scale 1/n, a step of `Mirror` is
n times a step of `SoftmaxLogits`.

State the geometry wherever weights are compared: "at most p nonzeros" speaks of `Mirror`.
"""

from __future__ import annotations

from .base import Geometry
from .euclidean import ClippedNormalised, Projection
from .groups import Groups
from .logits import Mirror, Sigmoid, SoftmaxLogits
from .penalised import Penalised

__all__ = [
    "ClippedNormalised",
    "Geometry",
    "Groups",
    "Mirror",
    "Penalised",
    "Projection",
    "Sigmoid",
    "SoftmaxLogits",
]
