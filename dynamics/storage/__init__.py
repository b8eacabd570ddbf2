"""Files that survive: written whole or not at all, and known by their content.

:mod:`.atomic` writes, :mod:`.datasets` keeps xarray Datasets as Zarr groups, :mod:`.hashing` names
contents, :mod:`.marks` tells what is done, running and failed.
"""
