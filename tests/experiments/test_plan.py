"""Plans as golden lists: which steps, in which order, needing what."""

from collections.abc import Callable
from pathlib import Path

import pytest

from fairseq_parp.errors import ConfigError
from fairseq_parp.experiments.plan import Plan
from fairseq_parp.experiments.progress import Progress
from fairseq_parp.experiments.steps import Step

Described = Callable[..., Plan]


def listed(plan: Plan) -> list[str]:
    return [f"{step.name} <- {', '.join(step.needs)}" if step.needs else step.name for step in plan.steps.values()]


def setting(step: Step, key: str) -> str | None:
    found = [word.partition("=")[2] for word in step.argv if word.lstrip("+").partition("=")[0] == key]
    assert len(found) <= 1, step.argv
    return found[0] if found else None


def test_a_dense_run_is_a_training_and_a_decoding(described: Described) -> None:
    assert listed(described("runs: [{method: dense}]")) == [
        "train dense-seed1",
        "decode dense-seed1 test <- train dense-seed1",
    ]


def test_one_dense_run_serves_all_omp_sparsities(described: Described) -> None:
    assert listed(described("runs: [{method: omp, sparsity: [0.3, 0.5]}]")) == [
        "train dense-seed1",
        "mask omp-0.3-seed1 <- train dense-seed1",
        "train omp-0.3-seed1 <- mask omp-0.3-seed1",
        "mask mpi-0.3",
        "decode omp-0.3-seed1 test <- train omp-0.3-seed1",
        "mask omp-0.5-seed1 <- train dense-seed1",
        "train omp-0.5-seed1 <- mask omp-0.5-seed1",
        "mask mpi-0.5",
        "decode omp-0.5-seed1 test <- train omp-0.5-seed1",
    ]


def test_learned_pruning_starts_from_the_dense_run_which_has_none_of_its_settings(described: Described) -> None:
    plan = described(
        "variants: {own: ['+task.adapters.kind=head_only']}\n"
        "runs: [{method: dense}, {method: s3_router_p, variant: own, sparsity: 0.7}]"
    )
    assert listed(plan) == [
        "train dense-seed1",
        "decode dense-seed1 test <- train dense-seed1",
        "train own-s3_router_p-0.7-seed1 <- train dense-seed1",
        "mask mpi-0.7",
        "decode own-s3_router_p-0.7-seed1 test <- train own-s3_router_p-0.7-seed1",
    ]
    dense, learned = plan.trainings
    assert setting(learned, "checkpoint.finetune_from_model") == str(dense.product)
    assert setting(learned, "task.pruning.method") == "s3_router"
    assert setting(learned, "task.pruning.init_score") == "weight_magnitude"
    assert (setting(dense, "task.adapters.kind"), setting(learned, "task.adapters.kind")) == (None, "head_only")


def test_a_run_goes_on_from_the_last_weights_of_a_shared_training(described: Described) -> None:
    plan = described(
        "variants: {a: ['+model.mask_prob=0.1'], b: ['+model.mask_prob=0.2']}\n"
        "runs: [{method: [dense, parp], sparsity: 0.5, variant: b, after: a, after_updates: 20, updates: 50},"
        " {method: dense, variant: a, updates: 20}]"
    )
    first, then = "a-updates20-dense-seed1", "b-after-a-updates50"
    assert listed(plan) == [
        f"train {first}",
        f"train {then}-dense-seed1 <- train {first}",
        f"decode {then}-dense-seed1 test <- train {then}-dense-seed1",
        f"train {then}-parp-0.5-every20-seed1 <- train {first}",
        "mask mpi-0.5",
        f"decode {then}-parp-0.5-every20-seed1 test <- train {then}-parp-0.5-every20-seed1",
        f"decode {first} test <- train {first}",
    ]
    one, other, pruned = plan.trainings
    assert setting(one, "checkpoint.finetune_from_model") is None
    assert [setting(step, "model.mask_prob") for step in plan.trainings] == ["0.1", "0.2", "0.2"]
    assert [setting(step, "optimization.max_update") for step in plan.trainings] == ["20", "50", "50"]
    assert {setting(step, "checkpoint.finetune_from_model") for step in (other, pruned)} == {str(one.product)}
    assert [run.finetunings for run in plan.outcomes] == [2, 2, 1]


def test_a_pretraining_is_validated_and_starts_at_random(described: Described) -> None:
    plan = described("runs: [{method: [dense, parp], sparsity: 0.5}]", "config=grounded_small", "checkpoint=null")
    assert listed(plan) == [
        "train dense-seed1",
        "validate dense-seed1 test <- train dense-seed1",
        "train parp-0.5-every50-seed1",
        "validate parp-0.5-every50-seed1 test <- train parp-0.5-every50-seed1",
    ]
    dense = plan.steps["train dense-seed1"]
    assert setting(dense, "model.w2v_path") is None
    assert setting(dense, "model.freeze_finetune_updates") is None
    assert [file.name for file in dense.reads][1:] == [
        "train.tsv", "train.img", "valid.tsv", "valid.img", "images.safetensors",
    ]  # fmt: skip
    check = plan.steps["validate dense-seed1 test"]
    assert check.product == plan.out / "logs" / f"{check.file_name}.log"
    assert check.argv[-1] == str(dense.product)
    started = described("runs: [{method: dense}]", "config=grounded_small").steps["train dense-seed1"]
    assert str(setting(started, "model.w2v_path")).endswith("model.pt")


def test_the_mask_that_a_run_is_held_against_has_its_scope_and_allocation(described: Described) -> None:
    plan = described(
        "variants: {own: [task.pruning.scope=ffn, task.pruning.allocation=tensor]}\n"
        "runs: [{method: gmp, variant: ['', own], sparsity: 0.7}]"
    )
    plain, own = (plan.steps[name].argv for name in ("mask mpi-0.7", "mask own-mpi-0.7"))
    assert own[-4:] == ("--scope", "ffn", "--allocation", "tensor")
    assert plain[-2] == "-o"


def test_one_chain_of_rounds_serves_all_imp_sparsities(described: Described) -> None:
    plan = described("runs: [{method: imp, sparsity: [0.3, 0.2]}]")
    assert listed(plan) == [
        "train imp-seed1-rewind",
        "train imp-seed1-round1 <- train imp-seed1-rewind",
        "mask imp-seed1-0.1 <- train imp-seed1-round1",
        "train imp-seed1-round2 <- mask imp-seed1-0.1, train imp-seed1-rewind",
        "mask imp-seed1-0.2 <- train imp-seed1-round2",
        "train imp-seed1-round3 <- mask imp-seed1-0.2, train imp-seed1-rewind",
        "mask imp-seed1-0.3 <- train imp-seed1-round3",
        "train imp-0.3-seed1 <- mask imp-seed1-0.3, train imp-seed1-rewind",
        "mask mpi-0.3",
        "decode imp-0.3-seed1 test <- train imp-0.3-seed1",
        "train imp-0.2-seed1 <- mask imp-seed1-0.2, train imp-seed1-rewind",
        "mask mpi-0.2",
        "decode imp-0.2-seed1 test <- train imp-0.2-seed1",
    ]
    rewind, first, last = (plan.steps[f"train imp-{name}"] for name in ("seed1-rewind", "seed1-round3", "0.3-seed1"))
    assert (rewind.updates, first.updates, last.updates) == (30, 50, 300)
    assert setting(rewind, "lr_scheduler.max_update") == "300"
    assert setting(first, "task.pruning.sparsity") == "0.2"
    assert setting(last, "checkpoint.finetune_from_model") == str(rewind.product)


def test_the_final_imp_finetuning_of_the_paper_starts_from_the_pretrained_weights(described: Described) -> None:
    plan = described("protocol: paper\nruns: [{method: imp, sparsity: 0.1}]")
    last, first = plan.steps["train paper-imp-0.1-seed1"], plan.steps["train paper-imp-seed1-round1"]
    assert setting(last, "checkpoint.finetune_from_model") is None
    assert (setting(last, "model.freeze_finetune_updates"), setting(first, "model.freeze_finetune_updates")) == (
        "250",
        "0",
    )


def test_imp_budgets_can_be_given(described: Described) -> None:
    text = "imp: {rewind_update: 7, round_updates: 9, round_lr: 0.1}\nruns: [{method: imp, sparsity: 0.1}]"
    steps = described(text).steps
    assert steps["train imp-seed1-rewind"].updates == 7
    assert (steps["train imp-seed1-round1"].updates, setting(steps["train imp-seed1-round1"], "optimization.lr")) == (
        9,
        "[0.1]",
    )
    with pytest.raises(ConfigError, match=r"imp.rewind_update=300: must be below the dense run's 300"):
        described("imp: {rewind_update: 300}\nruns: [{method: imp, sparsity: 0.1}]")


FROZEN = {"dense": 250, "mpi": 250, "rp": 250, "omp": 250, "imp": 250, "parp": 0, "parp_p": 0}


@pytest.mark.parametrize("method", FROZEN)
def test_the_protocol_of_the_paper_freezes_all_but_parp_in_proportion(method: str, described: Described) -> None:
    frozen = {}
    for protocol in ("matched", "paper"):
        plan = described(f"runs: [{{method: {method}, sparsity: 0.5, protocol: {protocol}}}]")
        (outcome,) = plan.outcomes.values()
        frozen[protocol] = int(setting(outcome.train, "model.freeze_finetune_updates") or -1)
    assert frozen == {"matched": 0, "paper": FROZEN[method]}


def test_a_recipe_of_the_scripts_has_their_updates_intervals_and_freezing(described: Described) -> None:
    text = "config: base_10h\nprotocol: paper\nruns: [{method: [dense, parp, parp_p], sparsity: 0.5}]"
    plan = described(text.replace("config", "data: {ten: {folder: x, config", 1).replace("base_10h", "base_10h}}"))
    found = {
        run.method: (
            step.updates,
            setting(step, "task.pruning.interval"),
            setting(step, "model.freeze_finetune_updates"),
        )
        for run, step in ((run, outcome.train) for run, outcome in plan.outcomes.items())
    }
    assert found == {
        "dense": (20000, None, "10000"),
        "parp": (20000, "125", "0"),
        "parp_p": (12000, "27", "0"),
    }


TWO = "data: {english: {folder: en, config: small_10m}, dutch: {folder: nl, config: small_10m}}\n"


def test_a_transferred_mask_is_the_other_languages_omp_mask(described: Described) -> None:
    plan = described(TWO + "runs: [{method: [fixed, parp], sparsity: 0.5, mask_from: english, train_on: dutch}]")
    assert listed(plan) == [
        "train english-dense-seed1",
        "mask english-omp-0.5-seed1 <- train english-dense-seed1",
        "train dutch-fixed-0.5-from-english-seed1 <- mask english-omp-0.5-seed1",
        "mask dutch-mpi-0.5",
        "decode dutch-fixed-0.5-from-english-seed1 test <- train dutch-fixed-0.5-from-english-seed1",
        "train dutch-parp-0.5-every20-from-english-seed1 <- mask english-omp-0.5-seed1",
        "decode dutch-parp-0.5-every20-from-english-seed1 test <- train dutch-parp-0.5-every20-from-english-seed1",
    ]
    assert setting(plan.steps["train english-dense-seed1"], "task.data") == str(Path("en").absolute())


def test_a_transfer_shares_the_dense_run_that_is_asked_for(described: Described) -> None:
    plan = described(
        TWO + "runs: [{method: dense}, {method: fixed, sparsity: 0.5, mask_from: english, train_on: dutch}]"
    )
    assert sorted(step.name for step in plan.trainings) == [
        "train dutch-dense-seed1",
        "train dutch-fixed-0.5-from-english-seed1",
        "train english-dense-seed1",
    ]


def test_what_varies_is_in_the_names(described: Described) -> None:
    plan = described("lr: [0.001, 0.0005]\nruns: [{method: parp, sparsity: 0.5, interval: [5, never]}]")
    assert [run.name for run in plan.outcomes] == [
        "lr0.001-parp-0.5-every5-seed1",
        "lr0.0005-parp-0.5-every5-seed1",
        "lr0.001-parp-0.5-never-seed1",
        "lr0.0005-parp-0.5-never-seed1",
    ]
    assert setting(plan.steps["train lr0.001-parp-0.5-never-seed1"], "task.pruning.interval") == "null"


def test_lengths_are_in_the_names_and_omp_masks_the_dense_run_of_its_own_length(described: Described) -> None:
    plan = described("updates: [50, 100]\nruns: [{method: dense}, {method: omp, sparsity: 0.5}]")
    assert {step.name: step.updates for step in plan.trainings} == {
        "train updates50-dense-seed1": 50,
        "train updates100-dense-seed1": 100,
        "train updates50-omp-0.5-seed1": 50,
        "train updates100-omp-0.5-seed1": 100,
    }
    assert plan.steps["mask updates100-omp-0.5-seed1"].needs == ("train updates100-dense-seed1",)


def test_a_training_set_with_one_length_has_none_in_its_names(described: Described) -> None:
    plan = described(
        TWO + "runs: [{method: dense, updates: [5, 9], train_on: dutch}, {method: dense, train_on: english}]"
    )
    assert [run.name for run in plan.outcomes] == [
        "dutch-updates5-dense-seed1",
        "dutch-updates9-dense-seed1",
        "english-dense-seed1",
    ]


def test_lengths_of_the_paper_protocol_are_the_scripts_and_not_in_the_names(described: Described) -> None:
    with pytest.raises(ConfigError, match=r"paper-dense-seed1.*two runs that differ"):
        described("protocol: paper\nruns: [{method: dense}, {method: dense, updates: 5}]")


def test_keys_that_the_config_lacks_are_appended(described: Described) -> None:
    argv = described("runs: [{method: imp, sparsity: 0.1}]").steps["train imp-seed1-rewind"].argv
    assert "+lr_scheduler.max_update=300" in argv
    assert any(word.startswith("task.data=") for word in argv)


def test_a_kill_half_way_leaves_the_rest_to_do(described: Described) -> None:
    plan = described("runs: [{method: omp, sparsity: 0.5}]")
    progress = Progress(plan.out)
    for name in ("train dense-seed1", "mask omp-0.5-seed1"):
        progress.write(plan.steps[name], finished=True)
        plan.steps[name].product.parent.mkdir(parents=True, exist_ok=True)
        plan.steps[name].product.touch()
    progress.write(plan.steps["train omp-0.5-seed1"], finished=False)  # killed in the middle, its checkpoint there
    plan.steps["train omp-0.5-seed1"].product.parent.mkdir(parents=True)
    plan.steps["train omp-0.5-seed1"].product.touch()
    assert [step.name for step in progress.left(plan.steps.values())] == [
        "train omp-0.5-seed1",
        "mask mpi-0.5",
        "decode omp-0.5-seed1 test",
    ]
    plan.steps["mask omp-0.5-seed1"].product.unlink()
    assert "mask omp-0.5-seed1" in [step.name for step in progress.left(plan.steps.values())]


@pytest.mark.parametrize("override", ["optimization.max_update=20", "+task.pruning.sparsity=0.9"])
def test_a_setting_that_the_plan_sets_is_refused(described: Described, override: str) -> None:
    with pytest.raises(ConfigError, match=r"settings='.*': the plan sets this, from the keys of the experiment"):
        described(f"settings: ['common.fp16=true', '{override}']\nruns: [{{method: mpi, sparsity: 0.5}}]")


def test_variants_are_named_settings_of_some_runs(described: Described) -> None:
    plan = described(
        "variants: {erk: ['+task.pruning.allocation=erk'], plain: []}\n"
        "runs: [{method: dense}, {method: [parp, omp], sparsity: 0.5, variant: ['', erk]}]"
    )
    trainings = {step.name: setting(step, "task.pruning.allocation") for step in plan.trainings}
    assert trainings == {
        "train dense-seed1": None,
        "train parp-0.5-every20-seed1": None,
        "train erk-parp-0.5-every20-seed1": "erk",
        "train omp-0.5-seed1": None,
        "train erk-dense-seed1": "erk",  # OMP's own first step
        "train erk-omp-0.5-seed1": "erk",
    }
    with pytest.raises(ConfigError, match=r"runs\[0\].variant='other': must be one of erk"):
        described("variants: {erk: []}\nruns: [{method: dense, variant: other}]")
    with pytest.raises(ConfigError, match=r"variants.erk='x': must be a list of texts"):
        described("variants: {erk: x}\nruns: [{method: dense}]")
    with pytest.raises(ConfigError, match=r"settings='common.seed=3': the plan sets this"):
        described("variants: {erk: ['common.seed=3']}\nruns: [{method: dense, variant: erk}]")


def test_text_starts_by_fairseqs_key_and_is_tested_by_classifying(described: Described) -> None:
    runs = "runs: [{method: omp, sparsity: 0.5}]"
    plan = described(runs, "config=small_text", "test=[valid]", "data=data/texts", "checkpoint=model.pt")
    dense, train = plan.steps["train dense-seed1"], plan.steps["train omp-0.5-seed1"]
    assert setting(train, "task.pruning.mask") == str(plan.steps["mask omp-0.5-seed1"].product)
    for step in (dense, train):
        assert setting(step, "checkpoint.finetune_from_model") == str(Path("model.pt").absolute())
        assert not [word for word in step.argv if "w2v_path" in word or "freeze" in word]
    decode = plan.steps["decode omp-0.5-seed1 valid"]
    assert decode.argv[2:] == (
        "classify", str(train.product), "--data", str(Path("data/texts").absolute()), "--split", "valid",
        "--results", str(decode.product),
    )  # fmt: skip
