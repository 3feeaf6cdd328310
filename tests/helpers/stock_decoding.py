"""Texts of a test split by stock fairseq alone: its task, its models, its CTC decoder; the steps of its ``infer.py``.

Arguments: the data folder, then checkpoints. A line of JSON for each checkpoint: its texts by sample.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path


def texts(data: str, checkpoint: str) -> list[str]:
    import fairseq
    from fairseq import checkpoint_utils
    from fairseq.data.data_utils import post_process

    sys.path.append(str(Path(fairseq.__file__).parent / "examples" / "speech_recognition" / "new"))
    decoders = importlib.import_module("decoders.viterbi_decoder")
    models, saved, task = checkpoint_utils.load_model_ensemble_and_task([checkpoint], arg_overrides={"data": data})
    for model in models:
        model.make_generation_fast_()
        model.eval()
    task.load_dataset("test", task_cfg=saved.task)
    batches = task.get_batch_iterator(dataset=task.dataset("test"), max_sentences=1).next_epoch_itr(shuffle=False)
    decoder = decoders.ViterbiDecoder(task.target_dictionary)
    found = {}
    for sample in batches:
        ((best, *_),) = task.inference_step(decoder, models, sample)
        units = task.target_dictionary.string(best["tokens"].int())
        found[int(sample["id"])] = post_process(units, "letter")
    return [found[number] for number in sorted(found)]


if __name__ == "__main__":
    for file in sys.argv[2:]:
        print(json.dumps(texts(sys.argv[1], file)))
    if ours := [name for name in sys.modules if name.startswith("fairseq_parp")]:
        sys.exit(f"not stock: {ours[0]}")
