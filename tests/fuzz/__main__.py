"""Fuzz one target under atheris: `python -m tests.fuzz http1 -max_total_time=3600 [folder of inputs]`.

The arguments after the target are libFuzzer's. New inputs go to the folder, and what fails too unless
-artifact_prefix says where; without a folder to one that is made for it. Needs the extra `fuzz`.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from pathlib import Path

import atheris


def main() -> None:
    """Run until something is found or the time is over."""
    with atheris.instrument_imports(include=["daphne.protocols", "daphne.streams", "hpack"]):
        from tests.fuzz.targets import SEEDS, TARGETS
    name, *arguments = sys.argv[1:]
    folders = [Path(argument) for argument in arguments if not argument.startswith("-")]
    if not folders:
        folders = [Path(tempfile.mkdtemp(prefix="daphne-fuzz-"))]
        arguments.append(str(folders[0]))
    for seed in SEEDS[name]:
        (folders[0] / hashlib.sha1(seed).hexdigest()).write_bytes(seed)
    options = ["-max_len=1024", f"-artifact_prefix={folders[0]}/failed-"]
    atheris.Setup([sys.argv[0], *options, *arguments], TARGETS[name])
    atheris.Fuzz()


main()
