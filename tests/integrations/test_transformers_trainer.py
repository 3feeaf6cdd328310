"""The callback under the real Trainer: exact zeros, sparse evaluation and saving, resume, masks of a plain loop."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn
from transformers import Trainer, TrainingArguments

from fairseq_parp.errors import ConfigError, MaskError, ResumeError
from fairseq_parp.integrations.transformers import STATE, PruningCallback
from fairseq_parp.sparsity import PruningSession, find_parameters, read_config
from fairseq_parp.sparsity.counting import zero_count

SPEECH = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48, "vocab_size": 6,
    "conv_dim": [16, 16], "conv_kernel": [10, 4], "conv_stride": [5, 4], "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4, "pad_token_id": 0, "mask_time_prob": 0.0,
    "layerdrop": 0.5,
}  # fmt: skip
TEXT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48, "vocab_size": 30}
XLNET = {"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 48, "vocab_size": 30}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "Wav2Vec2ForCTC": ("Wav2Vec2Config", SPEECH),
    "HubertForCTC": ("HubertConfig", SPEECH),
    "WavLMForCTC": ("WavLMConfig", SPEECH),
    "BertForSequenceClassification": ("BertConfig", TEXT),
    "XLNetForSequenceClassification": ("XLNetConfig", XLNET),
}


NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def build(name: str, **more: Any) -> nn.Module:
    config, keys = MODELS[name]
    torch.manual_seed(3)
    return getattr(transformers, name)(getattr(transformers, config)(**keys, **more))  # type: ignore[no-any-return]


def examples(name: str, count: int = 12) -> list[dict[str, Tensor]]:
    torch.manual_seed(4)
    if name.endswith("CTC"):
        return [{"input_values": torch.randn(900), "labels": torch.randint(1, 6, (4,))} for _ in range(count)]
    return [{"input_ids": torch.randint(5, 30, (7,)), "labels": torch.tensor(n % 2)} for n in range(count)]


def trainer(
    name: str, folder: Path, callback: PruningCallback, model: nn.Module | None = None, **arguments: Any
) -> Trainer:
    options = {
        "max_steps": 6, "save_steps": 3, "eval_steps": 3, "eval_strategy": "steps", "logging_steps": 1,
        "per_device_train_batch_size": 2, "learning_rate": 1e-2, "report_to": "none", "use_cpu": True,
        "disable_tqdm": True, "seed": 1, **arguments,
    }  # fmt: skip
    settings = TrainingArguments(output_dir=str(folder), **options)
    return Trainer(
        model or build(name),
        settings,
        train_dataset=examples(name),
        eval_dataset=examples(name, 4),
        callbacks=[callback],
    )


def load(name: str, folder: Path) -> nn.Module:
    return getattr(transformers, name).from_pretrained(folder).eval()  # type: ignore[no-any-return]


def zeros(model: nn.Module) -> tuple[int, int]:
    found = find_parameters(model)
    return sum(int((each == 0).sum()) for each in found.values()), sum(each.numel() for each in found.values())


@pytest.mark.parametrize("name", MODELS)
def test_the_scope_is_every_linear_map_of_every_layer(name: str) -> None:
    model = build(name)
    layers = [(path, module) for path, module in model.named_modules() if path.split(".")[-1].isdigit() and (
        "encoder.layer" in path or "transformer.layer" in path) and "conv" not in path]  # fmt: skip
    linear = {
        f"{path}.{inner}.{part}"
        for path, layer in layers
        for inner, module in layer.named_modules()
        if isinstance(module, nn.Linear) and "gru" not in inner
        for part in ("weight", "bias")
    }
    if name.startswith("XLNet"):
        linear |= {f"{path}.rel_attn.{part}" for path, _ in layers for part in "qkvo"}
    assert len(layers) == 2
    assert set(find_parameters(model)) == linear


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("method", ["parp", "parp_p", "gmp", "mpi", "s3_router"])
def test_what_is_saved_and_evaluated_has_exactly_the_zeros(name: str, method: str, tmp_path: Path) -> None:
    callback = PruningCallback(method=method, sparsity=0.5, interval=2)
    run = trainer(name, tmp_path, callback)
    run.train()
    assert callback.session is not None
    pruned, size = callback.session.parameters, callback.session.size
    evaluated = {log["step"]: log["eval_loss"] for log in run.state.log_history if "eval_loss" in log}
    for step in (3, 6):
        model = load(name, tmp_path / f"checkpoint-{step}")
        count = sum(int((each == 0).sum()) for part, each in model.named_parameters() if part in pruned)
        logged = [log for log in run.state.log_history if log["step"] == step and "sparsity" in log][-1]
        assert count == round(logged["sparsity"] * size)
        if method not in ("parp_p", "gmp"):  # which reach the sparsity at the end
            assert count == zero_count(0.5, size)
        again = Trainer(model, run.args, eval_dataset=examples(name, 4)).evaluate()["eval_loss"]
        assert again == pytest.approx(evaluated[step], rel=1e-6), "the evaluation saw another model than was saved"
    assert zeros(run.model) == zeros(load(name, tmp_path / "checkpoint-6"))


@pytest.mark.parametrize("method", ["parp", "parp_p", "mpi", "gmp", "rigl", "ste", "s3_router"])
@pytest.mark.parametrize("precision", [{}, {"bf16": True}])
def test_a_resumed_run_is_the_uninterrupted_one(method: str, precision: dict[str, bool], tmp_path: Path) -> None:
    name, keys = "BertForSequenceClassification", {"method": method, "sparsity": 0.5, "interval": 2}
    trainer(name, tmp_path / "whole", PruningCallback(**keys), **precision).train()
    whole = load(name, tmp_path / "whole" / "checkpoint-6").state_dict()
    resumed = trainer(
        name, tmp_path / "again", PruningCallback(**keys, resume_from=tmp_path / "whole" / "checkpoint-3"), **precision
    )
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-3"))
    _require_equal(load(name, tmp_path / "again" / "checkpoint-6").state_dict(), whole)


def test_a_killed_run_resumes_to_the_uninterrupted_one(tmp_path: Path) -> None:
    """A process of its own is killed by SIGKILL between a save and the next; this one goes on from its checkpoint."""
    name, keys = "Wav2Vec2ForCTC", {"method": "parp", "sparsity": 0.5, "interval": 2}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", __file__, name, str(tmp_path / "killed")],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL
    assert sorted(each.name for each in (tmp_path / "killed").iterdir()) == ["checkpoint-3"]
    trainer(name, tmp_path / "killed", PruningCallback(**keys)).train(resume_from_checkpoint=True)
    trainer(name, tmp_path / "whole", PruningCallback(**keys)).train()
    killed, whole = (tmp_path / folder / "checkpoint-6" for folder in ("killed", "whole"))
    _require_equal(load(name, killed).state_dict(), load(name, whole).state_dict())
    ours, theirs = (torch.load(folder / STATE, weights_only=True) for folder in (killed, whole))
    _require_equal(ours["mask"], theirs["mask"])
    _require_equal(ours["stashed"], theirs["stashed"])


class KillAt(transformers.TrainerCallback):
    """Kills the process after an update, which is not saved."""

    def __init__(self, update: int) -> None:
        self.update = update

    def on_step_end(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
        if state.global_step == self.update:
            os.kill(os.getpid(), signal.SIGKILL)


def test_s3_router_trains_scores_and_leaves_the_weights(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    name = "HubertForCTC"
    before = {each: value.clone() for each, value in find_parameters(build(name)).items() if value.dim() > 1}
    callback = PruningCallback(method="s3_router", sparsity=0.5)
    with caplog.at_level(logging.WARNING, "fairseq_parp"):
        trainer(name, tmp_path, callback, weight_decay=0.01).train()
    assert "weight_decay=0.01: it decays the scores" in caplog.text
    assert callback.session is not None
    assert callback.session.mask is not None
    masks = []
    for step in (3, 6):
        found = find_parameters(load(name, tmp_path / f"checkpoint-{step}"))
        for each, value in before.items():
            kept = found[each] != 0
            assert found[each][kept].equal(value[kept]), each
        masks.append({each: found[each] != 0 for each in before})
        assert sum(int((~kept).sum()) for kept in masks[-1].values()) == zero_count(0.5, callback.session.size)
    assert any(not masks[0][each].equal(masks[1][each]) for each in before), "the scores were not trained"
    last = {each: callback.session.mask.kept(each) for each in before}
    assert all(last[each].equal(masks[1][each]) for each in before)


def _require_equal(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> None:
    for name, value in theirs.items():
        assert ours[name].equal(value), name


@pytest.mark.parametrize(
    "keys", [{"method": "parp"}, {"method": "parp", "criterion": "saliency"}, {"method": "rigl"}, {"method": "set"}],
    ids=["parp", "saliency", "rigl", "set"],
)  # fmt: skip
def test_twenty_updates_have_the_masks_of_the_plain_loop(keys: dict[str, Any], tmp_path: Path) -> None:
    """The same weights, batches and optimizer: the Trainer adds nothing."""
    name, keys = "BertForSequenceClassification", {**keys, "sparsity": 0.5, "interval": 3}
    callback = PruningCallback(**keys)
    arguments: dict[str, Any] = {
        "max_steps": 20, "lr_scheduler_type": "constant", "max_grad_norm": 0.0, "eval_strategy": "no",
        "save_strategy": "no", "optim": "adamw_torch",
    }  # fmt: skip
    run = trainer(name, tmp_path, callback, build(name, **NO_DROPOUT), **arguments)
    batches = []
    collate = run.data_collator

    def remember(rows: list[dict[str, Any]]) -> Any:
        batches.append(collate(rows))
        return batches[-1]

    run.data_collator = remember
    run.train()
    model = build(name, **NO_DROPOUT).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    session = PruningSession.of_model(model, read_config(**keys), 20)
    torch.manual_seed(0)
    moved = 0
    for update, batch in enumerate(batches[:20]):
        record = session.before_forward(update)
        moved += 0 if record is None else record.churn
        model(**batch).loss.backward()
        session.after_backward()
        session.before_step(update)
        optimizer.step()
        session.after_step(update + 1)
        optimizer.zero_grad()
    assert callback.session is not None
    assert callback.session.mask is not None
    assert session.mask is not None
    assert callback.session.mask.churn(session.mask) == 0
    assert moved or keys["method"] == "parp"


def test_gradients_of_a_held_mask_are_zero_before_they_are_clipped(tmp_path: Path) -> None:
    seen = []

    class Watch(transformers.TrainerCallback):
        def on_pre_optimizer_step(self, *_: Any, **kwargs: Any) -> None:
            dropped = {name: each == 0 for name, each in find_parameters(kwargs["model"]).items()}
            seen.append(all(
                each.grad is None or not each.grad[dropped[name]].any()
                for name, each in find_parameters(kwargs["model"]).items()
            ))  # fmt: skip

    run = trainer("BertForSequenceClassification", tmp_path, PruningCallback(method="mpi", sparsity=0.5))
    run.add_callback(Watch())
    run.train()
    assert seen == [True] * 6


def test_refusals(tmp_path: Path) -> None:
    name = "BertForSequenceClassification"
    with pytest.raises(ConfigError, match="method"):
        PruningCallback(method="parq")
    keys = {"sparsity": 0.5, "interval": 2}
    trainer(name, tmp_path, PruningCallback(**keys)).train()
    checkpoint = tmp_path / "checkpoint-3"
    with pytest.raises(ResumeError, match="sparsity"):
        trainer(name, tmp_path, PruningCallback(sparsity=0.7, interval=2)).train(resume_from_checkpoint=str(checkpoint))
    whole = (checkpoint / STATE).read_bytes()
    (checkpoint / STATE).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(MaskError, match="truncated or damaged"):
        trainer(name, tmp_path, PruningCallback(**keys)).train(resume_from_checkpoint=str(checkpoint))
    (checkpoint / STATE).unlink()
    with pytest.raises(MaskError, match="no such file; the training was not pruned by fairseq_parp"):
        trainer(name, tmp_path, PruningCallback(**keys)).train(resume_from_checkpoint=str(checkpoint))


@pytest.mark.parametrize("method", ["parp", "s3_router"])
def test_the_best_checkpoint_that_is_loaded_at_the_end_stays_as_it_was_saved(method: str, tmp_path: Path) -> None:
    name = "BertForSequenceClassification"
    more = {"max_steps": 7, "save_steps": 1, "eval_steps": 1, "learning_rate": 5e-2, "load_best_model_at_end": True}
    run = trainer(name, tmp_path, PruningCallback(method=method, sparsity=0.5, interval=2), **more)
    run.train()
    best = Path(run.state.best_model_checkpoint)
    assert best.name != "checkpoint-7"
    _require_equal(run.model.state_dict(), load(name, best).state_dict())


class SaveAt(transformers.TrainerCallback):
    """Asks for a save after an update, as a callback of a user's may."""

    def on_step_end(self, _args: Any, state: Any, control: Any, **_: Any) -> Any:
        control.should_save |= state.global_step == 2
        return control


def test_a_save_that_a_later_callback_asks_for_is_refused(tmp_path: Path) -> None:
    run = trainer("BertForSequenceClassification", tmp_path, PruningCallback(sparsity=0.5, interval=2))
    run.add_callback(SaveAt())
    with pytest.raises(MaskError, match=r"checkpoint-2: saved with the trained weights, .* has to be the last"):
        run.train()


def test_the_readmes_lines_run(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "README.md").read_text()
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "PruningCallback" in block)
    name = "BertForSequenceClassification"
    arguments = TrainingArguments(output_dir=str(tmp_path), max_steps=2, report_to="none", use_cpu=True)
    names: dict[str, Any] = {"Trainer": Trainer, "model": build(name), "arguments": arguments, "train": examples(name)}
    exec(code, names)
    names["trainer"].train()
    count, size = zeros(names["model"])
    assert count == zero_count(0.5, size)


if __name__ == "__main__":
    # of test_a_killed_run_resumes_to_the_uninterrupted_one
    run = trainer(sys.argv[1], Path(sys.argv[2]), PruningCallback(method="parp", sparsity=0.5, interval=2))
    run.add_callback(KillAt(5))
    run.train()
