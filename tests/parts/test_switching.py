"""One model, switched in place between parts of every method: its outputs are those of each single checkpoint."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import made
import pytest
import torch
from torch import Tensor, nn

from fairseq_parp import checkpoints, cli
from fairseq_parp.errors import ConfigError, ManifestError, PartError
from fairseq_parp.parts.extracting import extract
from fairseq_parp.parts.loading import Parts
from fairseq_parp.parts.switching import Change, Switch
from fairseq_parp.parts.transcribing import read_table
from fairseq_parp.sparsity import MaskSet
from fairseq_parp.transcription.loading import load_finetuned
from fairseq_parp.transcription.transcriber import Transcriber

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def by_language(parts: dict[str, Path]) -> dict[str, Path]:
    return {file.name.partition(".")[0]: file for file in parts.values()}


@pytest.fixture(scope="module")
def loaded(base: Path, by_language: dict[str, Path]) -> Parts:
    return Parts(base, by_language, "cpu")


@torch.no_grad()
def logits(model: nn.Module) -> Tensor:
    source = torch.randn(2, 3000, generator=torch.Generator().manual_seed(1))
    padding = torch.zeros(2, 3000, dtype=torch.bool)
    padding[1, 2000:] = True
    output = model(source=source, padding_mask=padding)
    return model.get_normalized_probs(output, log_probs=True)  # type: ignore[operator, no-any-return]


@pytest.fixture(scope="module")
def wanted(finetuned: dict[str, Path]) -> dict[str, Tensor]:
    return {name.replace(" ", "_"): logits(load_finetuned(file).model) for name, file in finetuned.items()}


def test_a_thousand_random_switches_give_every_checkpoints_logits_to_the_last_bit(
    loaded: Parts, wanted: dict[str, Tensor]
) -> None:
    assert len({tuple(each.flatten().tolist()) for each in wanted.values()}) == len(made.TRAINED)
    chance = random.Random(1)
    for number in range(1000):
        language = chance.choice(list(wanted))
        model = loaded.switch(language).model
        assert loaded.language == language
        if number % 20 == 0 or number > 985:
            assert torch.equal(logits(model), wanted[language]), (number, language)
    for language in wanted:
        assert torch.equal(logits(loaded.switch(language).model), wanted[language])


def test_the_tensors_are_the_checkpoints_after_any_switch(loaded: Parts, finetuned: dict[str, Path]) -> None:
    for name in [*finetuned, *reversed(finetuned)]:
        state = loaded.switch(name.replace(" ", "_")).model.state_dict()
        saved = checkpoints.read(finetuned[name])["model"]
        assert state.keys() == saved.keys()
        assert all(state[each].numpy().tobytes() == saved[each].numpy().tobytes() for each in saved), name


def test_a_switch_that_was_interrupted_is_made_good_by_the_next(
    base: Path, by_language: dict[str, Path], wanted: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = Parts(base, by_language, "cpu")
    for target in ("s3_router", "mask_and_adapters", "lora"):
        parts.switch("mpi")

        def stopping(_mask: MaskSet, tensors: Any) -> None:
            for name in list(tensors)[:3]:
                tensors[name].zero_()
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(MaskSet, "zero_", stopping)
            with pytest.raises(KeyboardInterrupt):
                parts.switch(target)
        assert parts.language is None
        for language in ("head_only", "mpi", target):
            assert torch.equal(logits(parts.switch(language).model), wanted[language]), (target, language)


def test_a_language_that_is_not_loaded_leaves_the_one_in_use(loaded: Parts, wanted: dict[str, Tensor]) -> None:
    model = loaded.switch("lora").model
    with pytest.raises(ConfigError, match="language='fr': is not loaded; loaded are s3_router, mpi, bottleneck"):
        loaded.switch("fr")
    assert loaded.language == "lora"
    assert torch.equal(logits(model), wanted["lora"])


def test_the_model_of_a_language_that_is_not_in_use_refuses(loaded: Parts, wanted: dict[str, Tensor]) -> None:
    lora, masked = loaded.switch("lora"), loaded.switch("s3_router")
    for use in (lambda: logits(lora.model), lora.model.state_dict):
        with pytest.raises(ConfigError, match="language='s3_router': is in use; switch to lora to use its model"):
            use()
    assert torch.equal(logits(masked.model), wanted["s3_router"])
    loaded.switch("lora")
    assert torch.equal(logits(lora.model), wanted["lora"])
    assert next(lora.model.parameters()) is next(masked.model.parameters())


def test_masks_are_bits_and_one_copy_of_the_masked_weights_is_kept(loaded: Parts) -> None:
    copied = sum(each.numel() for each in loaded._switch._weights.values())
    assert copied == 3 * (4 * 32 * 32 + 2 * 32 * 64)
    same = {name: each.data_ptr() for name, each in loaded._switch._slots.items() if name in loaded._switch._weights}
    for language in loaded._switch.names:
        state = dict(loaded.switch(language).model.named_parameters())
        assert {name: state[name].data_ptr() for name in same} == same


def test_pure_pytorch_models_switch_too() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    before = model[0].weight.detach().clone()
    mask = MaskSet.of_nonzero({"0.weight": torch.tensor([[1.0, 0, 1], [0, 1, 1]])})
    switch = Switch(
        model, {"a": Change(mask), "b": Change(tensors={"1.weight": torch.ones(5, 2), "1.bias": torch.ones(5)})}
    )
    switch.to("a")
    assert torch.equal(model[0].weight, before * mask.kept("0.weight"))
    switch.to("b")
    assert torch.equal(model[0].weight, before)
    assert model(torch.ones(1, 3)).shape == (1, 5)
    switch.to("a")
    assert model(torch.ones(1, 3)).shape == (1, 2)


# --- files that do not go together ---------------------------------------------------------------------------------


def test_parts_that_do_not_go_together_are_refused(base: Path, parts: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(PartError, match="is of language 'lora', and is loaded as 'nl'"):
        Parts(base, {"nl": parts["lora"]}, "cpu")
    other = checkpoints.read(base)
    other["model"]["mask_emb"] += 1
    torch.save(other, tmp_path / "other.pt")
    with pytest.raises(PartError, match=r"was extracted over a base of SHA-256 \w{64}; .*other.pt has \w{64}"):
        Parts(tmp_path / "other.pt", {"lora": parts["lora"]}, "cpu")
    with pytest.raises(ConfigError, match="at least one part"):
        Parts(base, {}, "cpu")


def test_adapters_that_do_not_fit_are_refused(base: Path, finetuned: dict[str, Path], tmp_path: Path) -> None:
    state = checkpoints.read(finetuned["bottleneck"])
    name = next(name for name in state["model"] if name.endswith("adapter.up.weight"))
    for case, tensors in {
        "lacks": {each: value for each, value in state["model"].items() if each != name},
        "shape": state["model"] | {name: torch.ones(7, 3)},
        "place": state["model"] | {name.replace("layers.1", "layers.9"): state["model"][name]},
    }.items():
        torch.save(state | {"model": tensors}, tmp_path / f"{case}.pt")
        extract(tmp_path / f"{case}.pt", tmp_path / f"{case}.safetensors", base)
        with pytest.raises(PartError, match="its adapters do not fit its model"):
            Parts(base, {case: tmp_path / f"{case}.safetensors"}, "cpu")


# --- transcribing --------------------------------------------------------------------------------------------------


def test_texts_of_a_table_are_those_of_each_single_checkpoint(
    base: Path, by_language: dict[str, Path], finetuned: dict[str, Path], place: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    audio = [place / "data" / f"test-{number}.flac" for number in range(4)]
    languages = ["lora", "s3_router", "bottleneck", "mask_and_adapters"]
    rows = [(file, language) for file in audio for language in languages]
    table = tmp_path / "table.tsv"
    table.write_text("language\tpath\n" + "".join(f"{language}\t{file}\n" for file, language in rows))
    chosen = [word for language in languages for word in ("--part", f"{language}={by_language[language]}")]
    assert cli.main(["transcribe", "--base", str(base), *chosen, "--table", str(table)]) == 0
    shown = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    single = {name.replace(" ", "_"): Transcriber(file, device="cpu") for name, file in finetuned.items()}
    assert shown == [[str(file), language, single[language](file)] for file, language in rows]
    assert len({text for _, _, text in shown}) > 8
    assert cli.main(["transcribe", "--base", str(base), *chosen, "--table", str(table), "--json"]) == 0
    assert '"language": "s3_router"' in capsys.readouterr().out


TABLES = {
    "path\n": (ManifestError, r"t.tsv:1: no column 'language'; the header is 'path'"),
    "": (ManifestError, r"t.tsv:1: no column 'path'"),
    "path\tlanguage\n": (ManifestError, "no line below the header"),
    "path\tlanguage\na.wav\tnl\nb.wav\tfr\n": (ConfigError, r"t.tsv:3: language='fr': is not loaded; .* nl, es"),
    "path\tlanguage\na.wav\n": (ManifestError, r"t.tsv:2: a cell of path, language is empty"),
}  # fmt: skip


@pytest.mark.parametrize("text", TABLES)
def test_a_table_that_cannot_be_used_is_refused_by_its_line(text: str, tmp_path: Path) -> None:
    error, match = TABLES[text]
    (tmp_path / "t.tsv").write_text(text)
    with pytest.raises(error, match=match):
        read_table(tmp_path / "t.tsv", {"nl": 1, "es": 2})


def test_a_table_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no such file"):
        read_table(tmp_path / "none.tsv", {"nl": 1})
    (tmp_path / "t.tsv").write_bytes(b"path\tlanguage\n\xff\tnl\n")
    with pytest.raises(ManifestError, match="not UTF-8"):
        read_table(tmp_path / "t.tsv", {"nl": 1})


COMMANDS = {
    "two": (["--base", "B", "--part", "nl=a", "--part", "nl=b", "--table", "t"], "two parts of one name; nl is a"),
    "no table": (["--base", "B", "--part", "nl=a"], "--table=None: --base, --part and --table go together"),
    "no part": (["--base", "B", "--table", "t"], "--part=[]: --base"),
    "both": (["c.pt", "--base", "B", "--part", "nl=a", "--table", "t"], "CKPT='c.pt': is for one checkpoint"),
    "lm": (["--lm", "x", "--base", "B", "--part", "nl=a", "--table", "t"], "--lm='x': is for one checkpoint"),
    "srt": (["--format", "srt", "--base", "B", "--part", "nl=a", "--table", "t"], "subtitles are of one recording"),
    "nothing": ([], "name a checkpoint and audio files"),
    "no file": (["c.pt"], "name a checkpoint and audio files"),
}


@pytest.mark.parametrize("case", COMMANDS)
def test_options_that_do_not_go_together(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    words, text = COMMANDS[case]
    assert cli.main(["transcribe", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert text in line


def test_the_encoders_features_switch_too_not_the_head_alone(loaded: Parts) -> None:
    model = loaded.switch("s3_router").model
    features = model.w2v_encoder.w2v_model.extract_features  # type: ignore[union-attr]
    source = torch.randn(1, 3000, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        masked = features(source, None, mask=False)["x"]
        loaded.switch("head_only")
        dense = features(source, None, mask=False)["x"]
    assert not torch.equal(masked, dense)
