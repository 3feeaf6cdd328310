"""``fairseq-parp recipe convert`` on the recipes that fairseq publishes; one of them trains."""

from __future__ import annotations

import json
from pathlib import Path

import encoders
import fairseq
import pytest
import tiny
import yaml

from fairseq_parp.cli import main
from fairseq_parp.commands.front import hydra_arguments
from fairseq_parp.commands.recipes import convert
from fairseq_parp.environment.paths import PLUGIN
from fairseq_parp.errors import ConfigError

EXAMPLES = Path(fairseq.__file__).parent / "examples"
BROKEN = EXAMPLES / "wav2vec/config/finetuning/vox_1h_aws.yaml"
"""No YAML in fairseq itself."""
HUBERT = EXAMPLES / "hubert/config/finetune/base_10h.yaml"
WAV2VEC2 = EXAMPLES / "wav2vec/config/finetuning/base_10m.yaml"
PUBLISHED = sorted(
    {*EXAMPLES.glob("wav2vec/config/finetuning/*.yaml"), *EXAMPLES.glob("wav2vec/xlsr/config/f*.yaml"), HUBERT}
)
PUBLISHED.remove(BROKEN)


@pytest.mark.parametrize("file", PUBLISHED, ids=lambda file: file.stem)
def test_what_does_not_have_to_change_stays(file: Path) -> None:
    text, changes = convert(file, "outputs/own")
    before, after = (yaml.load(each, Loader=yaml.BaseLoader) for each in (file.read_text(), text))
    assert after["task"].pop("pruning") == {"method": "parp", "sparsity": "0.5", "interval": "50"}
    assert after["hydra"]["run"] == {"dir": "."}
    for change in changes:
        group, _, leaf = change.key.partition(".")
        was = before.setdefault(group, {}).pop(leaf, None) if leaf else None
        assert (was if was is None or isinstance(was, str) else json.dumps(was)) == (change.before if leaf else None)
        after[group].pop(leaf, None)
    assert before.pop("hydra", {}) is not None
    after.pop("hydra")
    assert after == before
    comments = [line.strip() for line in file.read_text().splitlines() if line.startswith("#  ")]
    assert all(comment in text for comment in comments)


def test_there_are_published_recipes() -> None:
    assert len(PUBLISHED) > 20


def test_a_hubert_recipe_becomes_ours_by_its_task_its_model_and_its_labels() -> None:
    _, changes = convert(HUBERT, "outputs/own")
    assert {
        change.key: (change.before, change.after) for change in changes if change.key[:5] in ("task.", "model")
    } == {
        "task._name": ("hubert_pretraining", "parp_finetuning"),
        "task.pruning": (None, "{method: parp, sparsity: 0.5, interval: 50}"),
        "model._name": ("hubert_ctc", "parp_hubert_ctc"),
        "model.freeze_finetune_updates": ("10000", "0"),
        "task.labels": ('["ltr"]', "ltr"),
        "task.fine_tuning": ("true", None),
        "task.single_target": ("true", None),
        "task.label_dir": ("???", None),
    }


@pytest.mark.parametrize("theirs", [WAV2VEC2, HUBERT], ids=["wav2vec2", "hubert"])
def test_a_converted_recipe_trains_and_resumes_from_any_folder(
    theirs: Path, commands: tiny.Commands, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, make = tmp_path / "ours.yaml", encoders.make if theirs == HUBERT else None
    pretrained = tmp_path / "pretrained.pt"
    make("hubert", pretrained) if make else tiny.make_pretrained(pretrained)
    assert main(["recipe", "convert", str(theirs), "-o", str(ours)]) == 0
    shown = capsys.readouterr().out
    assert (
        "# PARP has nothing to adjust while the Transformer is frozen\n-model.freeze_finetune_updates: 10000\n" in shown
    )
    assert f'+common.user_dir: "{PLUGIN}"\n' in shown
    run = tmp_path / "elsewhere"
    run.mkdir()
    less = ["common.cpu=true", "common.fp16=false", "distributed_training.distributed_world_size=1",
            "dataset.num_workers=0", "dataset.valid_subset=valid", "model.mask_channel_prob=0.0",
            "checkpoint.save_interval_updates=2"]  # fmt: skip
    words = [
        "--config-dir",
        str(tmp_path),
        "--config-name",
        "ours",
        f"task.data={data}",
        f"model.w2v_path={pretrained}",
    ]
    commands.train(run, hydra_arguments([*words, *less, "optimization.max_update=2"]))
    assert (run / "outputs/ours/checkpoint_last.pt").is_file()
    done = commands.train(run, hydra_arguments([*words, *less, "optimization.max_update=4"]))
    assert "2 updates" in done.out + done.err
    assert sorted(path.name for path in run.iterdir()) == ["outputs"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "task: {_name: audio_finetuning, labels: ltr}\nmodel: {_name: hubert_seq2seq}",
            "model._name='hubert_seq2seq': cannot",
        ),
        ("task: {_name: translation}\nmodel: {_name: wav2vec_ctc}", "task._name='translation': is not a finetuning"),
        ("task: {_name: audio_pretraining}\nmodel: {_name: wav2vec_ctc}", "task.labels=None: names no labels"),
        ("task: {_name: audio_finetuning, labels: ltr}\nmodel: {_name: wav2vec_ctc}", "one key a line below its group"),
        ("task: [", "cannot be read as YAML"),
        ("just text", "is not a finetuning of fairseq"),
    ],
)
def test_what_cannot_be_converted(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "theirs.yaml").write_text(text)
    with pytest.raises(ConfigError) as raised:
        convert(tmp_path / "theirs.yaml", "outputs/own")
    assert message in str(raised.value)
    with pytest.raises(ConfigError, match=r"vox_1h_aws\.yaml': cannot be read as YAML \(line 41: mapping"):
        convert(BROKEN, "outputs/own")
    with pytest.raises(ConfigError, match=r"none\.yaml': no such file"):
        convert(tmp_path / "none.yaml", "outputs/own")
