"""fairseq's audio dataset sorts lengths into buckets, whatever numpy calls the argument of its percentile."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from fairseq.data.audio.raw_audio_dataset import FileAudioDataset

from fairseq_parp import compat


def test_lengths_are_rounded_up_to_the_ends_of_their_buckets(tmp_path: Path) -> None:
    compat.install()
    lengths = [100, 200, 300, 400]
    for length in lengths:
        soundfile.write(tmp_path / f"{length}.wav", np.zeros(length), 16000)
    (tmp_path / "train.tsv").write_text("\n".join([str(tmp_path), *(f"{n}.wav\t{n}" for n in lengths)]) + "\n")
    data = FileAudioDataset(str(tmp_path / "train.tsv"), 16000, pad=True, num_buckets=2)
    assert data._bucketed_sizes.tolist() == [200, 200, 400, 400]
