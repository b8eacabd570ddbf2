"""Doing many independent units of work so that nothing that is done is ever done again.

:mod:`.task` is one unit: it computes, stores, and marks itself as done. :mod:`.pools` are who does
them: this process, processes, a dask cluster. :mod:`.runner` brings the two together.
"""

from __future__ import annotations

from .pools import Pool, as_pool
from .runner import run_tasks
from .task import Report, StorageFault, Task, execute

__all__ = ["Pool", "Report", "StorageFault", "Task", "as_pool", "execute", "run_tasks"]
