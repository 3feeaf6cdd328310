"""docs/api.md: the loop runs as written and prints what the page says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_loop() -> None:
    page = (ROOT / "docs" / "api.md").read_text()
    code = re.search(r"```python\n(.*?)```", page, flags=re.DOTALL)
    printed = re.search(r"It prints `(.*?)`", page)
    assert code
    assert printed
    done = subprocess.run([sys.executable, "-c", code[1]], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == printed[1]
    loop = code[1][code[1].index("config = ") : code[1].index("with session")].strip().splitlines()
    assert len(loop) <= 15
