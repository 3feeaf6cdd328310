from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny


@pytest.fixture(scope="session")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tiny.Commands]:
    """Fairseq's commands, ready to start."""
    server = tiny.Commands(tmp_path_factory.mktemp("commands"))
    yield server
    server.close()


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny corpus whose splits have the sizes that stock fairseq drops utterances of."""
    return tiny.make_corpus(tmp_path_factory.mktemp("data"), {"train": 13, "valid": 5, "test": 5})


@pytest.fixture(scope="session")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny pretrained checkpoint, in the new style."""
    return tiny.make_pretrained(tmp_path_factory.mktemp("pretrained") / "pretrained.pt")


@pytest.fixture(scope="session")
def finetuned(commands: tiny.Commands, data: Path, pretrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one finished PARP run that was never interrupted: saves every 3 updates and at epoch ends."""
    folder = tmp_path_factory.mktemp("finetuned")
    done = commands.train(folder, tiny.training(folder, data, pretrained, "checkpoint.no_epoch_checkpoints=false"))
    (folder / "log").write_text(done.out)
    return folder
