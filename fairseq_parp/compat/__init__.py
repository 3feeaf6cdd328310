"""Faults of fairseq itself, mended from outside: one small file each, with the reason and the versions.

fairseq's files are not changed. A patch whose only effect is that a failing case runs acts for every task. All
others act for this plugin's tasks and models only (:mod:`~fairseq_parp.compat.scope`, docs/reliability.md).
:func:`install` runs once, when fairseq imports the plugin.
"""

from __future__ import annotations

from fairseq_parp.compat import (
    broadcast,
    buckets,
    config_values,
    cpu_flat_fp16,
    cpu_gathering,
    cpu_overflow,
    encoders,
    loading_threads,
    no_eval,
    no_spans,
    not_a_number,
    numpy_long,
    old_args,
    resuming,
    safe_loading,
    save_dir,
    scope,
    short_logs,
    task_state,
    whole_saving,
)


def install() -> None:
    """Apply all patches to the imported fairseq; a second call has no effect."""
    old_args.install()
    encoders.install()
    config_values.install()
    no_eval.install()
    no_spans.install()
    safe_loading.install()
    resuming.install()
    save_dir.install()
    whole_saving.install()
    broadcast.install()
    buckets.install()
    numpy_long.install()
    loading_threads.install()
    cpu_overflow.install()
    cpu_flat_fp16.install()
    cpu_gathering.install()
    not_a_number.install()
    task_state.install()
    short_logs.install()
    scope.install()  # around them all: they ask it
