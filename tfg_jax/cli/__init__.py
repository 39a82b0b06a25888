"""The command line `tfg-jax`: one short file a command, each an `Options` dataclass and `run(options) -> exit code`.

Exit codes: 0 ok, 1 unexpected error, 2 usage, 3 some samples failed, 75 interrupted and resumable, 141 the
reader of the output is gone.
jax is imported inside `run`, so that `--help` and mistakes are answered at once.
"""
