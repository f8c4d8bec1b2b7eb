"""`python -m daphne`, which is the command `daphne`; calls `daphne.cli`."""

from daphne.cli import CommandLineInterface

if __name__ == "__main__":
    CommandLineInterface.entrypoint()
