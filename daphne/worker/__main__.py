"""`python -m daphne.worker`, which is the command `daphne-worker`; calls `daphne.worker.cli`."""

from daphne.worker.cli import entrypoint

if __name__ == "__main__":
    entrypoint()
