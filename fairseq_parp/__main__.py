"""Run the command line as ``python -m fairseq_parp``, with nothing installed."""

import sys

from fairseq_parp.cli import main

sys.exit(main())
