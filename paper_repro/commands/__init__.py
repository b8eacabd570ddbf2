"""One file for each command: `add_arguments(parser)` and `execute(args) -> exit code`.

At module level these import the standard library only.
"""
