"""The grounded demo: the real commands, from drawn pictures and spoken captions to recall and a contact sheet."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from omegaconf import OmegaConf

from fairseq_parp.commands.arguments import train_command
from fairseq_parp.commands.running import Command, run_together
from fairseq_parp.demo import scenes
from fairseq_parp.demo.drawing import ATTRIBUTION
from fairseq_parp.demo.folder import prepare, short, typed
from fairseq_parp.demo.pack import PRETRAINED
from fairseq_parp.environment.paths import PLUGIN, configs
from fairseq_parp.errors import absolute
from fairseq_parp.grounded.features import FILE
from fairseq_parp.manifests.table import write_table

CONFIG = configs() / "demo_grounded.yaml"


def demo(out: Path, *, seed: int = 1, sizes: Mapping[str, int] = scenes.SIZES, updates: int | None = None) -> Path:
    """Make scenes, train on them, and find test pictures by captions and captions by pictures.

    Args:
        out: output folder; the output of an earlier demo is replaced.
        seed: seed of the scenes, the voices and the training.
        sizes: number of pictures of each split.
        updates: updates of the training; None for the config's.

    Returns:
        the contact sheet.

    Raises:
        ConfigError: ``out`` has files that no demo made.
        CommandError: one of the commands failed.
        MissingToolError: eSpeak NG, Pillow, OpenMoji or the image encoder is not installed.
    """
    prepare(out)
    planned = scenes.plan(seed, sizes)
    print(f"\ndrawing and describing {len(planned)} pictures in {absolute(out / 'scenes')}", flush=True)
    scenes.write(out / "scenes", planned, seed)
    write_table(out / "scenes" / "transcripts.tsv", out / "data")
    retrieval = _retrieval(out)
    for command in (_features(out), _training(out, seed, updates), retrieval):
        run_together([command])
    sheet = out / "sheet.png"
    print(f"\n{_table(retrieval.log)}\n")
    print("Synthetic speech, drawn pictures, small scale: no evidence about real speech. One seed: no verdict.")
    print(f"contact sheet: {absolute(sheet)}\n{ATTRIBUTION}")
    print("next: docs/grounded.md, from your own pictures and captions to an encoder that PARP finetunes")
    return sheet


def _features(out: Path) -> Command:
    argv = _verb("images", "embed", short(out / "scenes" / "pictures"), "-o", short(out / "data" / FILE))
    return Command("features", argv, out / "logs" / "features.log")


def _training(out: Path, seed: int, updates: int | None) -> Command:
    updates = OmegaConf.load(CONFIG).optimization.max_update if updates is None else updates
    settings = [
        f"task.data={typed(out / 'data')}",
        f"model.w2v_path={typed(PRETRAINED)}",
        f"checkpoint.save_dir={typed(out / 'model')}",
        f"optimization.max_update={updates}",
        f"common.seed={seed}",
    ]
    argv = train_command(short(CONFIG), settings, short(PLUGIN))
    return Command("training", argv, out / "logs" / "training.log", updates)


def _retrieval(out: Path) -> Command:
    argv = _verb("retrieve", short(out / "model" / "checkpoint_last.pt"), "--data", short(out / "data"))
    argv += ["--rankings", short(out / "rankings.tsv"), "--sheet", short(out / "sheet.png")]
    argv += ["--pictures", short(out / "scenes" / "pictures")]
    return Command("retrieval", argv, out / "logs" / "retrieval.log")


def _verb(*words: str) -> list[str]:
    return ["python", short(PLUGIN), *words]


def _table(log: Path) -> str:
    """Return the output of ``retrieve``, without the names of its files and the bars."""
    lines = log.read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if " captions, " in line)
    return "\n".join(line for line in lines[start:] if not line.startswith("written: "))
