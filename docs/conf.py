"""Sphinx configuration: MyST pages, NumPy docstrings, warnings as errors in ``make docs``."""

import warmflow

project = "warmflow"
author = "the warmflow developers"
copyright = f"2026, {author}"
version = release = warmflow.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"warmflow {version}"

myst_enable_extensions = ["amsmath", "dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_mock_imports = ["cupy", "flint", "torch"]
autodoc_typehints = "signature"
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
