"""The reproduction items, one file each, with their reference numbers in JSON beside them."""
