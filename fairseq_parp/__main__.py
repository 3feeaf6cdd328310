"""Run the command line with nothing installed: ``python -m fairseq_parp``, or ``python PATH/fairseq_parp``."""

import sys
from pathlib import Path

if not __package__:  # run as a folder: then that folder is where Python looks, not the one that holds it
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from fairseq_parp.cli import main

sys.exit(main())
