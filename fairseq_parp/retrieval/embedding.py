"""Embeddings of a split: every caption alone, every picture once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from fairseq_parp.decoding.alone import each_alone
from fairseq_parp.errors import ConfigError, ManifestError, OneLineExit, ParpError, absolute
from fairseq_parp.grounded.features import FILE, Features
from fairseq_parp.grounded.pictures import require_pictures
from fairseq_parp.manifests.reading import read_lines
from fairseq_parp.retrieval.loading import Grounded
from fairseq_parp.training.utterances import require_readable

BATCH = 16
"""Captions, or pictures, that the model takes at a time; it changes no embedding."""


class Used(NamedTuple):
    """The codes of one caption or picture.

    Attributes:
        usage: (V,) how much it uses each code.
        nearest: (T,) the code next to each of its fine features.
    """

    usage: Tensor
    nearest: Tensor


class Embedded(NamedTuple):
    """A split's captions and the pictures that they show.

    Attributes:
        captions: (N, D) embeddings.
        images: (M, D) embeddings; each picture once, in the order of its first caption.
        owners: (N,) row in ``images`` of each caption's picture.
        paths: paths of the captions' audio, as in the manifest; of written captions, their lines.
        texts: texts of the captions, from ``SPLIT.wrd``; None without such a file.
        ids: ids of the pictures.
        lengths: length of the part of each caption that the model reads: seconds of audio, or words.
        boxes: (M, R, 4) places of each picture's regions; or None.
        caption_codes: codes of each caption; empty without a codebook.
        image_codes: codes of each picture.
    """

    captions: Tensor
    images: Tensor
    owners: Tensor
    paths: Sequence[str]
    texts: Sequence[str] | None
    ids: Sequence[str]
    lengths: Sequence[float]
    boxes: Tensor | None = None
    caption_codes: Sequence[Used] = ()
    image_codes: Sequence[Used] = ()


def embed_split(
    grounded: Grounded,
    data: str | Path,
    split: str,
    images: str | Path | None = None,
    pictures: str | Path | None = None,
) -> Embedded:
    """Embed the captions and pictures of a split.

    Args:
        grounded: the loaded checkpoint.
        data: folder with ``SPLIT.tsv`` (or, of written captions, ``SPLIT.wrd``) and ``SPLIT.img``.
        split: its name.
        images: features of the pictures; by default ``images.safetensors`` in the data folder.
        pictures: folder that has to have a file at the id of each picture, as it is drawn from afterwards.

    Raises:
        ImagesError: captions and pictures do not line up, a picture has no features or file, or there is one alone.
        ConfigError: the features are of another encoder or size than the model was trained on.
        ManifestError, AudioError: the split's audio cannot be used.
        ParpError: the model's output is NaN.
    """
    features = Features(images or Path(data, FILE))
    require_same(grounded, features)
    try:
        dataset = _dataset(grounded, data, split, features)
        rows: Sequence[int] = dataset.dataset.rows.tolist()
        shown = list(dict.fromkeys(rows))
        texts, ids = _texts(Path(data, f"{split}.wrd"), dataset), [features.ids[row] for row in shown]
        if pictures is not None:
            require_pictures(Path(pictures), ids)
        order = sorted(range(len(dataset)), key=dataset.num_tokens)
        back = torch.tensor(order).argsort()
        captions, spoken = _joined(_captions(grounded, dataset, order))
    except OneLineExit as stop:
        raise stop.error from None
    shows, seen = _joined(_pictures(grounded, features, shown[at : at + BATCH]) for at in range(0, len(shown), BATCH))
    if captions.isnan().any() or shows.isnan().any():
        raise ParpError(f"{grounded.path}: the model's output is NaN")
    place = {row: number for number, row in enumerate(shown)}
    return Embedded(
        captions[back],
        shows,
        torch.tensor([place[row] for row in rows]),
        [dataset.path(index) for index in range(len(rows))],
        texts,
        ids,
        [dataset.num_tokens(index) / grounded.rate for index in range(len(rows))],
        features.boxes(shown),
        [spoken[index] for index in back.tolist()] if spoken else [],
        seen,
    )


def _dataset(grounded: Grounded, data: str | Path, split: str, features: Features) -> Any:
    """Load a split of the captions with the checkpoint's task."""
    task = grounded.task
    task.cfg.data, task.cfg.images = str(data), str(features.path)
    task.load_dataset(split)
    return task.datasets[split]


def require_same(grounded: Grounded, features: Features) -> None:
    """Compare the features with those of the training."""
    model, task = grounded.model.cfg, grounded.task.cfg
    trained = {"encoder": task.image_encoder, "width": model.image_width, "boxes": bool(model.image_boxes)}
    there = {"encoder": features.encoder, "width": features.width, "boxes": features.has_boxes}
    for key, value in trained.items():
        if value is not None and value != there[key]:
            allowed = f"{features.path} has features with {key} {there[key]!r}; {grounded.path} was trained with these"
            raise ConfigError(f"image {key}", value, allowed)


@torch.no_grad()
def _captions(grounded: Grounded, dataset: Any, order: Sequence[int]) -> Iterator[tuple[Tensor, list[Used]]]:
    """Yield embeddings (B, D) of the captions, in this order, and their codes."""
    for at in tqdm(range(0, len(order), BATCH), unit="batch", disable=None):
        sample = dataset.collater([dataset[index] for index in order[at : at + BATCH]])
        require_readable(sample)
        inputs = {key: sample["net_input"][key].to(grounded.device) for key in ("source", "padding_mask")}
        with each_alone(grounded.model, inputs):
            yield _used(grounded, *grounded.model.encode_captions(**inputs))


@torch.no_grad()
def _pictures(grounded: Grounded, features: Features, rows: Sequence[int]) -> tuple[Tensor, list[Used]]:
    """Return embeddings (B, D) of the pictures in these rows, and their codes."""
    found = [features[row] for row in rows]
    values = torch.stack([each for each, _ in found]).to(grounded.device)
    boxes = torch.stack([each for _, each in found if each is not None]) if features.has_boxes else None
    return _used(grounded, *grounded.model.encode_images(values, None if boxes is None else boxes.to(grounded.device)))


def _used(grounded: Grounded, embedded: Tensor, coded: Any) -> tuple[Tensor, list[Used]]:
    """Return the model's output on the CPU, with the codes of an initialised codebook, without padding."""
    if coded is None or not grounded.model.grounded["codes"].book.seeded:
        return embedded.float().cpu(), []
    nearest = grounded.model.grounded["codes"].book.nearest(coded.features)
    every = zip(coded.usage, nearest, coded.real, strict=True)
    return embedded.float().cpu(), [Used(usage.cpu(), codes[real].cpu()) for usage, codes, real in every]


def _joined(batches: Iterable[tuple[Tensor, list[Used]]]) -> tuple[Tensor, list[Used]]:
    embeddings, codes = zip(*batches, strict=True)
    return torch.cat(embeddings), [each for batch in codes for each in batch]


def _texts(file: Path, dataset: Any) -> list[str] | None:
    """Return the texts of the utterances that fairseq keeps; or None."""
    if not file.is_file():
        return None
    lines, problems = read_lines(file)
    audio = dataset.dataset.dataset
    if not problems and len(lines) != audio.lines:
        problems = [f"{absolute(file)}: has {len(lines)} lines; the tsv beside it has {audio.lines} utterances"]
    if problems:
        raise ManifestError(problems)
    return [line for number, line in enumerate(lines) if number not in audio.skipped_indices]
