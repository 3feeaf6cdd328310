"""Plans the steps of a description. A step that several runs need occurs once.

OMP masks the *last* dense checkpoint and finetunes from the pretrained weights; one dense run serves all sparsities.
S3-Router-P starts from the last dense weights, with its variant's settings; its dense run has none of them.
IMP prunes a further tenth after every round; each round starts from the rewind checkpoint with a fresh optimizer, and
one chain of rounds serves all sparsities. Its final finetuning starts rewound under ``matched``, and from the
pretrained weights under ``paper``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from fairseq_parp.commands.arguments import classify_command, generate_command, train_command, validate_command
from fairseq_parp.environment.paths import PLUGIN
from fairseq_parp.errors import ConfigError
from fairseq_parp.experiments.description import Experiment, TrainingSet
from fairseq_parp.experiments.inputs import manifests, training_splits
from fairseq_parp.experiments.procedures import BASELINE, HOLDER, LEARNER, facts_of
from fairseq_parp.experiments.runs import Run
from fairseq_parp.experiments.steps import Outcome, Step
from fairseq_parp.sparsity import PruningConfig
from fairseq_parp.sparsity.allocation import ALLOCATIONS


@dataclass
class Plan:
    """The steps of an experiment, in an order in which they can be done.

    Attributes:
        experiment: the description.
        out: absolute folder for everything that is made.
        steps: the steps by name.
        outcomes: the steps with each run's results.
    """

    experiment: Experiment
    out: Path
    steps: dict[str, Step] = field(default_factory=dict)
    outcomes: dict[Run, Outcome] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for run in self.experiment.runs:
            self.outcomes[run] = self._outcome(run)

    @property
    def trainings(self) -> list[Step]:
        """The steps that train."""
        return [step for step in self.steps.values() if step.updates]

    @property
    def pretrains(self) -> bool:
        """Whether the trainings are pretrainings, whose results are losses and recall."""
        return any(data.base.pretrains for data in self.experiment.sets.values())

    def _outcome(self, run: Run) -> Outcome:
        train = self._finetuning(run)
        mpi = self._mpi(run) if run.sparsity and self._set(run).checkpoint is not None else None
        tested = self.experiment.sets[run.data].test
        return Outcome(train, {split: self._decoding(run, train, split) for split in tested}, mpi)

    # --- trainings --------------------------------------------------------------------------------------------

    def _finetuning(self, run: Run) -> Step:
        """Add the steps that a run needs, and the run itself."""
        if run.method == "imp":
            mask = self._imp_mask(run, round(10 * run.sparsity))
            rewind = self._rewind(run) if run.protocol == "matched" else None
            return self._train(run.name, run, HOLDER, mask, rewind)
        if run.method == "omp":
            return self._train(run.name, run, HOLDER, self._omp_mask(run, run.data))
        if run.method == "s3_router_p":
            tags = tuple(tag for tag in run.tags if tag != run.variant)
            dense = self._finetuning(replace(self._dense_of(run), variant="", tags=tags))
            return self._train(run.name, run, LEARNER, start=dense)
        given = self._omp_mask(run, run.mask_from) if run.mask_from is not None else None
        return self._train(run.name, run, run.method, given, self._first(run) if run.after is not None else None)

    def _first(self, run: Run) -> Step:
        """Add the dense training whose last weights a run starts from."""
        own = {f"after-{run.after}": run.after or "", f"updates{run.updates}": f"updates{run.after_updates}"}
        tags = tuple(own.get(tag, tag) for tag in run.tags if tag != run.variant)
        updates, variant = run.after_updates, run.after or ""
        first = replace(self._dense_of(run), variant=variant, updates=updates, after=None, after_updates=0, tags=tags)
        return self._finetuning(first)

    def _train(
        self,
        name: str,
        run: Run,
        method: str,
        mask: Step | None = None,
        start: Step | None = None,
        part_of: Run | None = None,
    ) -> Step:
        """Add one training.

        Args:
            name: name of its folder.
            run: the other settings: data, sparsity, interval, learning rate, length, seed, freezing.
            method: ``task.pruning.method``.
            mask: step whose mask file it starts from.
            start: training whose last weights it starts from, with a fresh optimizer; by default the pretrained ones.
            part_of: longer run that it is the beginning of: its learning-rate schedule and freezing hold.
        """
        data = self._set(run)
        settings: dict[str, object] = {
            "task.data": data.folder.absolute(),
            "task.pruning.method": method,
            "optimization.max_update": run.updates,
            "optimization.lr": f"[{run.lr!r}]",
            "common.seed": run.seed,
            "checkpoint.save_dir": self.out / "runs" / name,
        }
        if data.checkpoint is not None:
            settings[data.base.start] = data.checkpoint.absolute()
        if not data.base.classifies_text and not data.base.pretrains:
            settings["model.freeze_finetune_updates"] = self._frozen(part_of or run)
        if run.sparsity:
            settings["task.pruning.sparsity"] = run.sparsity
        if facts_of(method).reprunes:
            settings["task.pruning.interval"] = run.interval
        if run.method == "s3_router_p" and method == LEARNER:
            settings["task.pruning.init_score"] = "weight_magnitude"
        if mask is not None:
            settings["task.pruning.mask"] = mask.product
        if start is not None:
            settings["checkpoint.finetune_from_model"] = start.product
        if part_of is not None:
            settings["lr_scheduler.max_update"] = part_of.updates
        own = self.experiment.variants[run.variant] if run.variant else ()
        overrides = [*self.experiment.settings, *data.settings, *own]
        _require_others(overrides, settings)
        written = [data.base.override(key, value) for key, value in settings.items()]
        argv = train_command(data.base.path, [*written, *overrides])
        needs = tuple(step.name for step in (mask, start) if step is not None)
        product = self.out / "runs" / name / "checkpoint_last.pt"
        pretrained = () if data.checkpoint is None else (data.checkpoint,)
        reads = (data.base.path, *pretrained, *manifests(data.folder, data.base, training_splits(data.base)))
        return self._add(Step(f"train {name}", tuple(argv), product, needs, run.updates, run.data, reads))

    def _dense(self, run: Run) -> Step:
        """Add the dense run of another one's data, protocol, learning rate and seed."""
        return self._finetuning(self._dense_of(run))

    def _dense_of(self, run: Run) -> Run:
        updates = self._set(run).base.updates(BASELINE, run.protocol) if run.protocol == "paper" else run.updates
        return replace(run, method=BASELINE, sparsity=0.0, interval=None, mask_from=None, updates=updates)

    def _frozen(self, run: Run) -> int:
        """Return the updates for which the Transformer is frozen: none in ``matched``, the scripts' in ``paper``."""
        if run.protocol == "matched" or not facts_of(run.method).frozen_by_scripts:
            return 0
        return self._set(run).base.frozen(run.updates)

    # --- IMP --------------------------------------------------------------------------------------------------

    def _rewind(self, run: Run) -> Step:
        """Add the dense run's first updates, under its learning-rate schedule, from which rounds start."""
        dense = self._dense_of(run)
        scheduler = self._set(run).base.get("lr_scheduler._name")
        if scheduler != "tri_stage":
            raise ConfigError("lr_scheduler._name", scheduler, "IMP needs tri_stage, to stop a dense run early")
        early = replace(dense, updates=self.experiment.imp.rewind_update or dense.updates // 10)
        if not 0 < early.updates < dense.updates:
            raise ConfigError("imp.rewind_update", early.updates, f"must be below the dense run's {dense.updates}")
        return self._train(f"{_chain(dense)}-rewind", early, BASELINE, part_of=dense)

    def _imp_mask(self, run: Run, tenths: int) -> Step:
        """Add the chain of rounds up to a mask with the given tenths of zeros."""
        name, dense = _chain(self._dense_of(run)), self._dense_of(run)
        before = self._imp_mask(run, tenths - 1) if tenths > 1 else None
        trained = replace(
            dense,
            protocol="matched",  # no round freezes the Transformer
            sparsity=(tenths - 1) / 10,
            updates=self.experiment.imp.round_updates or dense.updates // 6,
            lr=self.experiment.imp.round_lr or run.lr,
        )
        method = BASELINE if before is None else HOLDER
        step = self._train(f"{name}-round{tenths}", trained, method, before, self._rewind(run))
        return self._mask(f"{name}-{tenths / 10:g}", step.product, tenths / 10, step)

    # --- masks and decodings ----------------------------------------------------------------------------------

    def _omp_mask(self, run: Run, data: str) -> Step:
        """Add the OMP mask of a training set: the magnitudes of its dense run's last checkpoint."""
        other = replace(run, data=data, lr=run.lr if data == run.data else self._lr(data, run))
        dense = self._dense_of(other)
        if data != run.data:
            dense = replace(dense, tags=(data, *run.tags[1:]))
        step = self._finetuning(dense)
        return self._mask(f"{dense.name.replace(BASELINE, f'omp-{run.sparsity:g}')}", step.product, run.sparsity, step)

    def _lr(self, data: str, run: Run) -> float:
        """Return the learning rate of another training set's dense run: as the description has it there."""
        runs = self.experiment.runs
        return next((r.lr for r in runs if r.data == data and r.method == BASELINE and r.seed == run.seed), run.lr)

    def _mpi(self, run: Run) -> Step:
        """Add the MPI mask of a run's sparsity, which every result is held against."""
        scope, allocation = (self._pruning(run, key) for key in ("scope", "allocation"))
        axes = [] if scope == "paper" else ["--scope", *([scope] if isinstance(scope, str) else scope)]
        if allocation != "global" and allocation in list(ALLOCATIONS):
            axes += ["--allocation", allocation]
        own = [run.variant] if axes and run.variant else []
        name = "-".join([*run.tags[: len(self.experiment.sets) > 1], *own, f"mpi-{run.sparsity:g}"])
        return self._mask(name, Path(self._set(run).checkpoint or "").absolute(), run.sparsity, None, axes)

    def _pruning(self, run: Run, key: str) -> Any:
        """Return the value of a key of ``task.pruning`` in a run: the last override's, the config's or the default."""
        data, name = self._set(run), f"task.pruning.{key}"
        own = self.experiment.variants[run.variant] if run.variant else ()
        for override in reversed([*self.experiment.settings, *data.settings, *own]):
            written, _, value = override.lstrip("+").partition("=")
            if written == name:
                return yaml.safe_load(value)
        return data.base.get(name, getattr(PruningConfig, key))

    def _mask(
        self, name: str, checkpoint: Path, sparsity: float, trained: Step | None, axes: Sequence[str] = ()
    ) -> Step:
        product = self.out / "masks" / f"{name}.safetensors"
        argv = ["python", str(PLUGIN), "mask", "make", str(checkpoint), "--sparsity", f"{sparsity:g}"]
        argv += ["-o", str(product), *axes]
        needs, reads = ((trained.name,), ()) if trained else ((), (checkpoint,))
        return self._add(Step(f"mask {name}", tuple(argv), product, needs, reads=reads))

    def _decoding(self, run: Run, train: Step, tested: str) -> Step:
        """Add the decoding of a split of the run's own training set, or of ``NAME/SPLIT``, another one's."""
        data = self._set(run)
        other, _, split = tested.rpartition("/")
        folder = self.out / "decoded" / run.name / other
        product = folder / f"generate-{split}.txt"
        source = self.experiment.sets[other or run.data].folder
        checkpoint = train.product.with_name(f"checkpoint_{self.experiment.decoded}.pt")
        reads = manifests(source, data.base, [split])
        if data.base.pretrains:
            return self._validation(run, train, tested)
        if data.base.classifies_text:
            argv = classify_command(source.absolute(), checkpoint, product, subset=split)
        else:
            argv = generate_command(
                source.absolute(),
                checkpoint,
                folder,
                task=str(data.base.get("task._name", "parp_finetuning")),
                labels=str(data.base.get("task.labels", "ltr")),
                subset=split,
                beam=self.experiment.beam,
                cpu=bool(data.base.get("common.cpu", False)),
            )
        return self._add(Step(f"decode {run.name} {tested}", tuple(argv), product, (train.name,), reads=reads))

    def _validation(self, run: Run, train: Step, tested: str) -> Step:
        """Add the validation of a pretraining by both losses and recall; its log is the product."""
        data = self._set(run)
        other, _, split = tested.rpartition("/")
        source = self.experiment.sets[other or run.data].folder
        argv = validate_command(
            source.absolute(),
            train.product.with_name(f"checkpoint_{self.experiment.decoded}.pt"),
            task=str(data.base.get("task._name")),
            subset=split,
            batch_size=int(data.base.get("dataset.batch_size")),
            cpu=bool(data.base.get("common.cpu", False)),
        )
        name = f"validate {run.name} {tested}"
        reads = manifests(source, data.base, [split])
        step = Step(name, tuple(argv), self.out, (train.name,), reads=reads)
        return self._add(replace(step, product=self.out / "logs" / f"{step.file_name}.log"))

    def _set(self, run: Run) -> TrainingSet:
        return self.experiment.sets[run.data]

    def _add(self, step: Step) -> Step:
        """Add a step unless it is there.

        Raises:
            ConfigError: another one has its name: the description asks for two runs that differ in ``updates`` alone.
        """
        there = self.steps.setdefault(step.name, step)
        if there.argv != step.argv:
            raise ConfigError("runs", step.name.partition(" ")[2], "two runs that differ would have this name")
        return there


def _chain(dense: Run) -> str:
    """Return the name of the chain of IMP rounds that belongs to a dense run."""
    return dense.name.replace(BASELINE, "imp")


def _require_others(overrides: Sequence[str], settings: Mapping[str, object]) -> None:
    """Refuse an override of a key that the plan sets."""
    for override in overrides:
        if override.lstrip("+~").partition("=")[0] in settings:
            raise ConfigError("settings", override, "the plan sets this, from the keys of the experiment")
