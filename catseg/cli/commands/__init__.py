"""The sub-commands: each module has a docstring, `EPILOG` with examples, `add_arguments` and `run`."""
