"""The model card of an export."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fairseq_parp import __version__
from fairseq_parp.export.papers import PAPERS
from fairseq_parp.export.provenance import Results, training
from fairseq_parp.export.source import Source
from fairseq_parp.mask_files.reading import saved_pruning

_USE = {
    "compact": "fairseq-parp transcribe model.safetensors FILE.wav",
    "onnx": "onnxruntime.InferenceSession('model.onnx').run(None, {'input_values': audio, 'input_lengths': samples})",
    "fairseq": "checkpoint_utils.load_model_ensemble_and_task(['model.pt'], arg_overrides={'data': 'THIS FOLDER'})",
    "transformers": "pipeline('automatic-speech-recognition', 'THIS FOLDER')(audio)",
}

_ALONE = (
    "Use `batch_size=1`: the group norm of the first convolution averages over padding, "
    "so the text of a shorter utterance depends on the others in its batch."
)

_NO_GAIN = "Zeros make neither this file smaller nor its model faster: dense libraries multiply by them."
_GAIN = {"compact": "Zeros are not stored. They make the model no faster: the loaded tensors are dense."}


def card(
    source: Source,
    target: str,
    differences: Mapping[str, float],
    lost: Sequence[str],
    changed: tuple[int, int] | None,
    results: Results = (),
) -> str:
    """Return the card as Markdown: source, counted sparsity, comparisons, remarks on use.

    Args:
        source: the checkpoint.
        target: a key of the targets.
        differences: the largest difference of outputs, by comparison.
        lost: the content that the export lacks, one line each.
        changed: number of texts that a padded batch changes, and of all; None if batches change none.
        results: error rates of the checkpoint.
    """
    rows = [f"| {part} | {zeros} of {size} | {zeros / size:.4f} |" for part, (zeros, size) in _zeros(source).items()]
    compared = [f"- {name}: largest difference of outputs {value:.2g}" for name, value in differences.items()]
    rest = list(map("- {}".format, lost)) or ["- nothing is missing"]
    equal = "- every tensor that has a name of the checkpoint's: equal, bit for bit"
    return "\n".join([
        *_front(source), f"# {source.path.name}, exported to {target}", "",
        f"Written by `fairseq-parp export` {__version__} from a fairseq checkpoint of {source.encoder.family}"
        + (f", finetuned on {len(source.symbols) - 4} symbols (`{source.labels}`)." if source.finetuned else "."), "",
        "## Use", "", f"`{_USE[target]}`", "", *_notes(source, target, changed), "",
        "## Training", "", *training(source, results), "",
        "## Pruning", "", _method(source), "", *_papers(source),
        "| layer | zeros | sparsity |", "|---|---|---|", *rows, "",
        _GAIN.get(target, _NO_GAIN), "",
        "## Compared with the checkpoint", "", *compared, equal, "",
        "## Not in this folder", "", *rest, "",
    ])  # fmt: skip


def _front(source: Source) -> list[str]:
    tags = ["automatic-speech-recognition"] if source.finetuned else ["feature-extraction"]
    return ["---", f"pipeline_tag: {tags[0]}", "tags:", "- speech", "- pruned", "---", ""]


def _notes(source: Source, target: str, changed: tuple[int, int] | None) -> list[str]:
    inside = target == "onnx"
    scaled = (
        ", zero mean and unit variance" if source.normalize and not inside else ", within -1 to 1" if inside else ""
    )
    notes = [f"Audio: mono, {source.sample_rate} Hz{scaled}."]
    if inside:
        notes += ["", "An utterance has the same output alone and in any batch."]
    elif target != "compact" and not source.encoder.layer_norms:
        count = (
            "" if changed is None else " In one padded batch of {1} utterances, {0} had another text.".format(*changed)
        )
        notes += ["", _ALONE + count]
    return notes


def _papers(source: Source) -> list[str]:
    """Return the papers of the method and of the encoder, with an empty line behind."""
    asked = str((saved_pruning(source.state).get("config") or {}).get("method") or "")
    cited = [PAPERS[name] for name in (asked, source.encoder.family) if name in PAPERS]
    return ["Please cite:", "", *(f"- {paper}" for paper in cited), ""]


def _method(source: Source) -> str:
    pruning: Mapping[str, Any] = saved_pruning(source.state)
    asked = {key: value for key, value in dict(pruning.get("config") or {}).items() if value is not None}
    return ", ".join(f"{key} {value}" for key, value in asked.items()) or "The checkpoint holds no pruning state."


def _zeros(source: Source) -> dict[str, tuple[int, int]]:
    """Return zeros and size of the linear maps of each layer, weights and biases, and of all."""
    from fairseq_parp.architectures import ARCHITECTURES, layer_of

    family = ARCHITECTURES[source.encoder.family]
    found: dict[str, tuple[int, int]] = {}
    for name, value in source.tensors.items():
        if family.map_of(name):
            for part in (layer_of(name), "all layers"):
                zeros, size = found.get(part, (0, 0))
                found[part] = (zeros + int((value == 0).sum()), size + value.numel())
    return dict(sorted(found.items(), key=lambda item: item[0] == "all layers"))
