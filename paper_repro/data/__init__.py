"""Data sets: the two-cluster toy, digits, IDX folders, `.npz` and CSV; corruption of labels."""

from .corruption import Corruption, corrupt
from .dataset import Data
from .idx import load_idx_folder
from .images import Split, digits
from .imbalance import Imbalance
from .loading import Request, load
from .recipe import Recipe
from .tables import load_csv_pair, load_npz
from .tabular import Tabular
from .toy import Toy

__all__ = [
    "Corruption", "Data", "Imbalance", "Recipe", "Request", "Split", "Tabular", "Toy",
    "corrupt", "digits", "load", "load_csv_pair", "load_idx_folder", "load_npz",
]  # fmt: skip
