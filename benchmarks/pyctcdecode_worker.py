"""pyctcdecode at work, in an environment where this package is not: run as a file, it imports nothing from it.

The arguments are the file of emissions (.npz), the beam, and the file with the arguments of pyctcdecode's
``build_ctcdecoder`` (.json). The worker prints a line with pyctcdecode's version when all is loaded. Then it answers
every line that it reads by one with the texts of all utterances (JSON).
"""

from __future__ import annotations

import json
import logging
import sys
from importlib import metadata
from pathlib import Path

import numpy as np


def main(file: str, beam: str, options: str) -> None:
    """Decode all utterances whenever asked, with the default pruning."""
    from pyctcdecode import build_ctcdecoder

    logging.disable()
    decoder = build_ctcdecoder(**json.loads(Path(options).read_text()))
    with np.load(file) as emissions:
        utterances = [emissions[name] for name in emissions.files]
    print(metadata.version("pyctcdecode"), flush=True)
    for _ in sys.stdin:
        texts = [decoder.decode_beams(log_probs, beam_width=int(beam))[0][0] for log_probs in utterances]
        print(json.dumps(texts), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
