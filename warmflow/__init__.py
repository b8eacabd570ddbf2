"""Warm-started dynamics of bilevel data reweighting.

Four subpackages, each importing only from those before it:

``warmflow.dynamics``
    What moves: problems, geometries of the weights, flows, methods, sweeps.
``warmflow.analysis``
    What it means: summaries of weights, diagnosis, theorems.
``warmflow.figures``
    What it looks like: results in, Matplotlib axes out.
``warmflow.paper_repro``
    What the paper says: experiments, data sets, reports, command line.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
