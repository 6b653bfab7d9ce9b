"""The command `catseg`: a module for each sub-command, with `add_arguments(parser)` and `run(args) -> int`.

`main` imports the one that is asked for, and none for `catseg --help`. Modules import what is slow inside `run`.
"""
