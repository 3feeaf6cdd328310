"""Loads the captions of ``grounded_pretraining``, one kind for each model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fairseq_parp.errors import ConfigError, DictionaryError, absolute
from fairseq_parp.grounded.allowed import require_allowed
from fairseq_parp.grounded.captions import require_gallery, rows_of
from fairseq_parp.grounded.features import Features
from fairseq_parp.grounded.words import Words
from fairseq_parp.manifests.checking import require, require_long_enough
from fairseq_parp.training.captioned import Captioned, EveryCaption, FromStart
from fairseq_parp.training.written import EveryWritten, Written, read_texts


class Spoken:
    """Captions are audio, of a ``SPLIT.tsv``."""

    def fit(self, task: Any, model_cfg: Any) -> None:
        """Pass facts about the training's captions to the model: there are none."""

    def load(self, task: Any, cfg: Any, split: str, features: Features | None) -> EveryCaption:
        """Return a split, with pictures where features are given; its files are checked."""
        manifest = Path(cfg.data, f"{split}.tsv")
        shortest, most = max(task.shortest, 1), cfg.max_sample_size
        enough = most is None or most >= shortest
        require_allowed("task", cfg, {"max_sample_size": (enough, f"must be {shortest} or more: the model needs them")})
        require(cfg.data, split, None)
        require_long_enough(cfg.data, split, shortest, cfg.min_sample_size or 0)
        options = {key: getattr(cfg, key) for key in ("sample_rate", "min_sample_size", "normalize")}
        audio = FromStart(str(manifest), most, **options)
        return EveryCaption(with_pictures(audio, manifest, features), absolute(manifest))


class Text:
    """Captions are words, of a ``SPLIT.wrd``; checkpoints keep the known words."""

    def fit(self, task: Any, model_cfg: Any) -> None:
        """Take the known words from the training split, and give the model their number.

        Raises:
            ConfigError: the model is to have another number.
        """
        file = Path(task.cfg.data, f"{task.cfg._get_root().dataset.train_subset}.wrd")
        least = task.cfg.least_word_count
        require_allowed("task", task.cfg, {"least_word_count": (least >= 1, "must be 1 or more")})
        words = Words.of(read_texts(file), least)
        if not words.known:
            allowed = f"no word of {absolute(file)} occurs so often"
            raise ConfigError("task.least_word_count", least, allowed)
        if model_cfg.words not in (0, len(words)):
            raise ConfigError("model.words", model_cfg.words, f"{absolute(file)} has {len(words)}; leave the key out")
        model_cfg.words = len(words)
        task.state.merge_state_dict({"words": words.known})

    def load(self, task: Any, cfg: Any, split: str, features: Features | None) -> EveryCaption:
        """Return a split with pictures; its files are checked."""
        file = Path(cfg.data, f"{split}.wrd")
        written = Written(file, Words(task.state.words), task.longest)
        return EveryWritten(with_pictures(written, file, features), absolute(file))


CAPTIONS: Mapping[str, Spoken | Text] = {"grounded_wav2vec2": Spoken(), "grounded_text": Text()}
"""By the name of the model."""


def with_pictures(captions: Any, file: Path, features: Features | None) -> Any:
    """Return captions with the pictures that ``SPLIT.img`` beside their file names; as they are without features."""
    if features is None:
        return captions
    images = file.with_suffix(".img")
    rows = rows_of(file, captions.lines, features, captions.skipped_indices)
    require_gallery(images, rows)
    return Captioned(captions, features, rows)


def require_same_words(task: Any, path: str, state: Mapping[str, Any]) -> None:
    """Compare the known words with those of a checkpoint to start from.

    Raises:
        DictionaryError: they are others.
    """
    saved = (state.get("task_state") or {}).get("words")
    known = task.state.state_dict.get("words")
    if known is not None and saved != known:
        counts = f"{len(saved or ())} known words in the checkpoint, {len(known)} here, or another order"
        way_out = "train on the same captions with the same task.least_word_count"
        raise DictionaryError("the training split's words", absolute(path), counts, way_out)
