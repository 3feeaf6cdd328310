"""One example for each command, shown below its ``--help``."""

from __future__ import annotations

EXAMPLES = {
    "abx": "wav2vec_small.pt test.item --audio LIBRISPEECH/test-clean --plot abx.png",
    "align": "checkpoint_best.pt DATA --split test --speaker '^([^/]+)/' -o test.item",
    "bench": "--table docs/performance.tsv",
    "classify": "checkpoint_best.pt FILE.wav",
    "completion": "bash",
    "codes": "checkpoint_best.pt --data DATA --split test",
    "configs copy": "base_10m -o mine.yaml",
    "configs list": "",
    "configs show": "base_10m",
    "demo": "",
    "doctor": "",
    "experiment": "configs/experiments/sweep_base.yaml --dry-run",
    "export": "checkpoint_best.pt --to transformers -o FOLDER",
    "images digits": "an4/transcripts.tsv --out outputs/spoken_digits",
    "images embed": "PICTURES -o DATA/images.safetensors",
    "images import": "features.npy --ids ids.txt --encoder NAME -o DATA/images.safetensors",
    "import": "FOLDER -o imported.pt",
    "manifest captions": "train=SpokenCOCO_train.json valid=SpokenCOCO_val.json --out DATA --audio AUDIO",
    "localise": "checkpoint_best.pt FILE.wav PICTURE --images images.safetensors --start 0.2 --end 0.6 --plot heat.png",
    "manifest check": "DATA",
    "manifest commonvoice": "COMMONVOICE/nl --splits SPLITS --language nl --out DATA",
    "manifest librilight": "LIBRISPEECH --subset 10min-0 --out DATA",
    "manifest librispeech": "LIBRISPEECH --subsets dev-other test-other --out DATA",
    "manifest table": "TRANSCRIPTS.tsv --out DATA",
    "manifest text": "TRAIN.tsv --valid VALID.tsv --out DATA",
    "manifest union": "DUTCH GERMAN --out BOTH --labels phn",
    "mask apply": "checkpoint.pt mask.safetensors -o sparse.pt",
    "mask make": "wav2vec_small.pt --sparsity 0.5 -o mpi.safetensors",
    "mask overlap": "one.safetensors other.safetensors --plot overlap.png",
    "mask show": "mpi.safetensors",
    "part apply": "wav2vec_small.pt nl.safetensors -o checkpoint.pt",
    "part extract": "checkpoint_last.pt -o nl.safetensors",
    "part export": "spa.safetensors -o FOLDER",
    "part import": "mms.pt adapter.spa.safetensors --vocab vocab.json --language spa -o spa.safetensors",
    "part show": "nl.safetensors",
    "plot": "outputs/an4/an4_sweep.tsv",
    "recipe convert": "THEIRS.yaml -o OURS.yaml",
    "report": "checkpoint_best.pt",
    "retrieve": "checkpoint_best.pt --data DATA --split test --sheet sheet.png --pictures PICTURES",
    "score": "OUT/generate-test.txt",
    "transcribe": "checkpoint_best.pt FILE.wav --format srt",
    "verify": "wav2vec_small.pt",
}
"""Arguments by the command's words."""


def example(command: str) -> str | None:
    """Return the line below a command's help; None for a command that lists its actions."""
    return f"example: fairseq-parp {f'{command} {EXAMPLES[command]}'.strip()}" if command in EXAMPLES else None
