from __future__ import annotations

from pathlib import Path

import made
import pytest
import tiny

from fairseq_parp.parts.extracting import extract


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("parts")


@pytest.fixture(scope="session")
def base(place: Path) -> Path:
    return tiny.make_pretrained(place / "pretrained.pt")


@pytest.fixture(scope="session")
def finetuned(place: Path, base: Path) -> dict[str, Path]:
    """Checkpoints by the name of their training."""
    return made.checkpoints(place, made.TRAINED, base)


@pytest.fixture(scope="session")
def parts(place: Path, finetuned: dict[str, Path]) -> dict[str, Path]:
    """Their parts; a language is named as the training, without spaces."""
    files = {name: place / f"{name.replace(' ', '_')}.safetensors" for name in finetuned}
    for name, file in files.items():
        extract(finetuned[name], file)
    return files
