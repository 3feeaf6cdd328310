"""Emissions of a user's own recordings and finetuned model, to measure decoders on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from benchmarks.emissions import Emissions
from fairseq_parp.decoding import LanguageModel
from fairseq_parp.decoding.lexicon import BOUNDARY, Speller
from fairseq_parp.manifests.checking import require
from fairseq_parp.manifests.reading import read_labels, read_manifest
from fairseq_parp.transcription.transcriber import Transcriber


@dataclass(frozen=True)
class Recordings:
    """A split of a data folder, the model that decodes it, and a language model.

    Attributes:
        split: FOLDER/SPLIT, of which there are a .tsv and a .ltr.
        checkpoint: finetuned on letters.
        lm: language model and its weights.
    """

    split: Path
    checkpoint: Path
    lm: LanguageModel

    def read(self) -> tuple[Emissions, LanguageModel]:
        """Run the model on the recordings; symbols that are never meant are left out.

        Raises:
            ManifestError: a file of the split is missing or damaged, or has letters that the model does not know.
            CheckpointError, AudioError, DecodingError: as :class:`Transcriber`.
            ConfigError: the labels have no word boundary.
        """
        model = Transcriber(self.checkpoint)
        dictionary = model.dictionary
        boundary = Speller(dictionary).boundary
        folder, split = self.split.parent, self.split.name
        require(folder, split, "ltr", symbols=dictionary.symbols)
        manifest, labels = read_manifest(folder / f"{split}.tsv"), read_labels(folder / f"{split}.ltr")
        letters = [at for at in range(dictionary.nspecial, len(dictionary.symbols)) if at != boundary]
        order = [dictionary.bos(), boundary, *letters]
        files = [Path(manifest.root) / entry.path for entry in manifest.entries]
        heard = [model.log_probs(file) for file in tqdm(files, desc=str(self.split), unit="file", leave=False)]
        texts = [line.replace(" ", "").replace(BOUNDARY, " ").strip() for line in labels.lines]
        alphabet = ["", " ", *(dictionary.symbols[at] for at in letters)]
        return Emissions([each[:, order].numpy() for each in heard], texts, alphabet), self.lm
