"""Run the command line as ``python -m warmflow``."""

from .paper_repro.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
