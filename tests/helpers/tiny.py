"""A tiny corpus, a tiny pretrained model, and real fairseq commands on them."""

from __future__ import annotations

import inspect
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

ROOT = Path(__file__).parents[2]
PLUGIN = ROOT / "fairseq_parp"
CONFIG = Path(__file__).with_name("tiny.yaml")
LETTERS = "ABCD"
FP16 = ["common.fp16=true", "common.fp16_no_flatten_grads=true"]

MODEL = {
    "_name": "wav2vec2",
    "quantize_targets": True,
    "conv_feature_layers": "[(16, 10, 5)] + [(16, 3, 2)] * 4 + [(16, 2, 2)] * 2",
    "encoder_layers": 3,
    "encoder_embed_dim": 32,
    "encoder_ffn_embed_dim": 64,
    "encoder_attention_heads": 2,
    "final_dim": 16,
    "latent_vars": 8,
    "conv_pos": 16,
    "conv_pos_groups": 2,
}


def of_2022() -> bool:
    """Tell whether this is fairseq 0.12.2, by its functions: its main branch never changed that number."""
    from fairseq.data import data_utils

    return "add_masks" not in inspect.signature(data_utils.compute_mask_indices).parameters


def make_corpus(folder: Path, sizes: dict[str, int], seconds: tuple[float, float] = (0.5, 1.0)) -> Path:
    """Write tones as FLAC, each with a few letters, and their manifests."""
    chance = random.Random(3)
    folder.mkdir(parents=True, exist_ok=True)
    for split, size in sizes.items():
        rows, labels = [str(folder.absolute())], []
        for number in range(size):
            frames = int(16000 * chance.uniform(*seconds))
            name = f"{split}-{number}.flac"
            tone = 0.1 * np.sin(np.arange(frames) * chance.uniform(0.05, 0.5))
            soundfile.write(folder / name, tone, 16000)
            rows.append(f"{name}\t{frames}")
            labels.append(" ".join(chance.choices(LETTERS, k=chance.randint(2, 5))) + " |")
        (folder / f"{split}.tsv").write_text("\n".join(rows) + "\n")
        (folder / f"{split}.ltr").write_text("\n".join(labels) + "\n")
    (folder / "dict.ltr.txt").write_text("".join(f"{symbol} 10\n" for symbol in LETTERS + "|"))
    return folder


def make_pretrained(path: Path, model: dict[str, Any] | None = None, *, old_style: bool = False) -> Path:
    """Write a wav2vec 2.0 with random weights as fairseq saves one, with a ``cfg`` or an old ``args`` Namespace."""
    from fairseq.models.wav2vec.wav2vec2 import Wav2Vec2Config, Wav2Vec2Model
    from omegaconf import OmegaConf

    keys = MODEL | (model or {})
    torch.manual_seed(5)
    cfg = OmegaConf.merge(OmegaConf.structured(Wav2Vec2Config), {k: v for k, v in keys.items() if k != "_name"})
    network = Wav2Vec2Model(cfg)
    full = OmegaConf.to_container(cfg, resolve=False, enum_to_str=True)
    full["_name"] = "wav2vec2"
    task = {"_name": "audio_pretraining", "data": "/nowhere", "normalize": False, "labels": None, "sample_rate": 16000}
    state: dict[str, Any] = {"model": network.state_dict(), "extra_state": {}, "optimizer_history": [_HISTORY]}
    if old_style:
        flat = {key: value for key, value in full.items() if not str(value).startswith("${")}
        flat |= {"arch": "wav2vec2", "task": "audio_pretraining", "criterion": "wav2vec", "data": "/nowhere"}
        state |= {"args": Namespace(**flat, normalize=False), "cfg": None}
    else:
        others = {"criterion": {"_name": "wav2vec"}, "lr_scheduler": None}
        state |= {"args": None, "cfg": {"model": full, "task": task, **others}}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, path)
    return path


_HISTORY = {
    "criterion_name": "Wav2vecCriterion",
    "optimizer_name": "FairseqAdam",
    "lr_scheduler_state": {"best": None},
    "num_updates": 1,
}


@dataclass
class Done:
    """A command that ended."""

    status: int
    out: str
    err: str
    ended: float
    """When, on the monotonic clock, in seconds."""

    @property
    def last_line(self) -> str:
        """The last line of standard error."""
        return self.err.strip().splitlines()[-1] if self.err.strip() else ""


def environment() -> dict[str, str]:
    """Return the environment of a run: one thread, and no installed plugin needed."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": "", "TQDM_DISABLE": "1", "PYTHONWARNINGS": "ignore"}


class Commands:
    """Starts fairseq's commands."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        server = [sys.executable, str(Path(__file__).with_name("command_server.py"))]
        pipe = subprocess.PIPE
        self._server = subprocess.Popen(server, stdin=pipe, stdout=pipe, text=True, env=environment(), cwd=folder)

    def run(
        self,
        module: str,
        arguments: list[str],
        cwd: Path,
        expect: int | None = 0,
        kill_at: str = "",
        file_size: int | None = None,
        **env: str,
    ) -> Done:
        """Run one command to its end; ``expect`` is its exit status, None for any.

        With ``kill_at`` it is killed (SIGKILL) as soon as its standard output holds that text. With ``file_size``
        it can write no file of more bytes.
        """
        done = self.run_together(module, [arguments], cwd, kill_at=kill_at, file_size=file_size, **env)[0]
        if expect is not None and done.status != expect:
            raise AssertionError(f"exit {done.status}\n{done.out[-3000:]}\n{done.err[-6000:]}")
        return done

    def run_together(
        self,
        module: str,
        commands: list[list[str]],
        cwd: Path,
        kill_at: str = "",
        file_size: int | None = None,
        **env: str,
    ) -> list[Done]:
        """Run several commands at the same time, to their ends.

        With ``kill_at`` the last of them is the one to be killed, and alone gets the environment ``env``.
        """
        outputs = [(self._folder / f"stdout-{number}", self._folder / f"stderr-{number}")
                   for number in range(len(commands))]  # fmt: skip
        requests = []
        for arguments, (out, err) in zip(commands, outputs, strict=True):
            out.unlink(missing_ok=True)
            request = {"module": module, "arguments": arguments, "cwd": str(cwd), "out": str(out), "err": str(err)}
            request["file_size"] = file_size
            requests.append({**request, "env": {} if kill_at and arguments is not commands[-1] else env})
        assert self._server.stdin
        assert self._server.stdout
        print(json.dumps(requests), file=self._server.stdin, flush=True)
        processes = json.loads(self._server.stdout.readline())
        ended = {}
        try:
            if kill_at:
                _kill_at(processes[-1], outputs[-1][0], kill_at)
        finally:  # the server's answers are read whatever happens, or the next command would get them
            for _ in processes:
                process, status = json.loads(self._server.stdout.readline())
                ended[process] = (status, time.monotonic())
        return [
            Done(ended[process][0], out.read_text(), err.read_text(), ended[process][1])
            for process, (out, err) in zip(processes, outputs, strict=True)
        ]

    def train(self, cwd: Path, arguments: list[str], expect: int | None = 0, **options: Any) -> Done:
        """Run fairseq-hydra-train with ``arguments`` from :func:`training`."""
        return self.run("fairseq_cli.hydra_train", arguments, cwd, expect, **options)

    def train_ranks(self, cwd: Path, ranks: int, arguments: list[str], **options: str) -> list[Done]:
        """Run a training on several ranks: real processes over gloo. The last rank is the one to kill."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        shared = [
            *arguments, f"distributed_training.distributed_world_size={ranks}",
            "distributed_training.distributed_backend=gloo", "distributed_training.distributed_no_spawn=true",
            f"distributed_training.distributed_init_method=tcp://127.0.0.1:{port}",
        ]  # fmt: skip
        each = [[*shared, f"distributed_training.distributed_rank={rank}"] for rank in range(ranks)]
        return self.run_together("fairseq_cli.hydra_train", each, cwd, **options)

    def generate(self, data: Path, checkpoint: Path, results: Path, *options: str, expect: int | None = 0) -> Done:
        """Run fairseq-generate on the test split."""
        arguments = [
            str(data), "--user-dir", str(PLUGIN), "--task", "parp_finetuning", "--path", str(checkpoint),
            "--gen-subset", "test", "--post-process", "letter", "--scoring", "wer", "--cpu",
            "--results-path", str(results), *options,
        ]  # fmt: skip
        return self.run("fairseq_cli.generate", arguments, data, expect)

    def close(self) -> None:
        """End the server."""
        assert self._server.stdin
        print("end", file=self._server.stdin, flush=True)
        self._server.wait(timeout=30)


def _kill_at(process: int, out: Path, text: str) -> None:
    for _ in range(60_000):
        if out.exists() and text in out.read_text():
            os.kill(process, signal.SIGKILL)
            return
        if not Path(f"/proc/{process}").exists():
            raise AssertionError(f"the command ended before {text!r} appeared")
        time.sleep(0.005)
    raise AssertionError(f"{text!r} did not appear in five minutes")


def training(save: Path, data: Path, pretrained: Path, *overrides: str, config: Path | None = None) -> list[str]:
    """Return the arguments of fairseq-hydra-train for the tiny recipe."""
    source = config or CONFIG
    return [
        "--config-dir", str(source.parent), "--config-name", source.stem, f"common.user_dir={PLUGIN}",
        f"task.data={data}", f"model.w2v_path={pretrained}", f"checkpoint.save_dir={save}", *overrides,
    ]  # fmt: skip
