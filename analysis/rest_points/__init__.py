"""Rest points of the flows: where they are, how many samples they keep, what attracts.

Solved points (:mod:`.solved`) are optimal on the target law and form polytopes of weights; trapped
points (:mod:`.trapped`) are not, and lie where no gradient descends along the adjoint
(:mod:`.depth`). At frozen theta (the limit of fast weights), :func:`frozen_rest_point` finds them
for ridge regression from the gradients alone (:mod:`.frozen`, along the path of
:mod:`.nonnegative`), :func:`rest_point_on_face` certifies one with a given support for every
problem, and :func:`frozen_portrait` finds all of them for three samples.
"""

from __future__ import annotations

from .depth import criterion_gradients, depth_radius, depth_residual, separating_direction
from .faces import rest_point_on_face
from .frozen import frozen_rest_point, frozen_rest_points
from .nonnegative import Piece, nonnegative_path
from .point import FrozenRestPoint
from .portrait import Portrait, frozen_portrait
from .solved import is_solvable, max_entropy_weights, solved_theta, solved_vertex
from .trapped import FacePoint, face_hessian, outer_hessian, stationary_point_on_face

__all__ = [
    "FacePoint", "FrozenRestPoint", "Piece", "Portrait", "criterion_gradients", "depth_radius",
    "depth_residual", "face_hessian", "frozen_portrait", "frozen_rest_point", "frozen_rest_points",
    "is_solvable", "max_entropy_weights", "nonnegative_path", "outer_hessian", "rest_point_on_face",
    "separating_direction", "solved_theta", "solved_vertex", "stationary_point_on_face",
]  # fmt: skip
