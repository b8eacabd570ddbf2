"""Bilevel methods: each is a frozen dataclass with its own knobs, ``init`` and a pure ``step``."""

from __future__ import annotations

from .base import Method, State
from .borep import BOREP
from .bsvrb import BSVRB
from .exact import Exact
from .forward import ForwardMode, RealTimeForward
from .implicit import ConjugateGradient, Neumann
from .inner_loop import InnerLoop
from .joint import Joint
from .learning_to_reweight import LearningToReweight
from .lvhba import LVHBA
from .maid import MAID
from .meta_weight_net import MetaWeightNet
from .networks import Network, Perceptron, Table
from .one_step import OneStep
from .penalty import AugmentedLagrangian, Penalty
from .reverse import ReverseMode, TruncatedReverse
from .scalebio import ScaleBiO
from .self_tuning import SelfTuning
from .soba import SOBA
from .value_gap import F2SA

__all__ = [
    "AugmentedLagrangian",
    "BOREP",
    "BSVRB",
    "ConjugateGradient",
    "Exact",
    "F2SA",
    "ForwardMode",
    "InnerLoop",
    "Joint",
    "LearningToReweight",
    "LVHBA",
    "MAID",
    "MetaWeightNet",
    "Method",
    "Network",
    "Neumann",
    "OneStep",
    "Penalty",
    "Perceptron",
    "RealTimeForward",
    "ReverseMode",
    "ScaleBiO",
    "SelfTuning",
    "SOBA",
    "State",
    "Table",
    "TruncatedReverse",
]
