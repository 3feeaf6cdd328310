"""Finds the weights that fairseq's optimizers step.

``FP16Optimizer`` steps fp32 master copies, one flat tensor or one a parameter, and writes them over the model
after every step: zeros put only into the model would be undone. The other optimizers step the model itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor


def master_weights(optimizer: Any, named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the optimizer's fp32 master of each parameter that has one.

    Args:
        optimizer: any ``FairseqOptimizer``.
        named: parameters by name.

    Returns:
        Views by the same names, of the parameters' shapes: writing to one writes to the optimizer.
    """
    views = {id(parameter): master for parameter, master in _pairs(optimizer)}
    return {name: views[id(parameter)] for name, parameter in named.items() if id(parameter) in views}


def _pairs(optimizer: Any) -> list[tuple[Tensor, Tensor]]:
    """Return each parameter with its master, in the optimizer's order; nothing where it keeps no masters."""
    masters = getattr(optimizer, "fp32_params", None)
    if masters is None:
        return []
    if isinstance(masters, dict):
        return list(_flat_views(masters, optimizer.fp16_params))
    return [(parameter, master.data) for parameter, master in zip(optimizer.fp16_params, masters, strict=True)]


def _flat_views(masters: Mapping[Any, Tensor], parameters: list[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """Cut each device's flat master into views, in the order in which fairseq filled it."""
    offsets: dict[Any, int] = defaultdict(int)
    for parameter in parameters:
        device = next(iter(masters)) if len(masters) == 1 else parameter.device.index
        start, size = offsets[device], parameter.numel()
        yield parameter, masters[device].data[start : start + size].view(parameter.shape)
        offsets[device] += size


def state_of(optimizer: Any) -> dict[str, Any]:
    """Return the state of a half-precision optimizer that fairseq's checkpoints lack: plain values and CPU tensors.

    The state is the fp32 masters, which have more digits than the saved weights, and the loss scaler's counters, which
    determine the next rise of the scale.
    """
    scaler = getattr(optimizer, "scaler", None)
    return {
        "masters": [master.cpu() for _, master in _pairs(optimizer)],
        "scaler": {} if scaler is None else _scaler_state(scaler),
    }


def restore(optimizer: Any, state: Mapping[str, Any]) -> bool:
    """Restore the result of :func:`state_of`; return whether there were masters to restore.

    The weights follow their masters, as after a step. An optimizer without masters, or with others, does not change.
    """
    scaler = getattr(optimizer, "scaler", None)
    if scaler is not None and set(state["scaler"]) == set(_scaler_state(scaler)):
        _set_scaler_state(scaler, state["scaler"])
    pairs = _pairs(optimizer)
    if not pairs or [master.shape for _, master in pairs] != [saved.shape for saved in state["masters"]]:
        return False
    for (parameter, master), saved in zip(pairs, state["masters"], strict=True):
        master.copy_(saved)
        parameter.data.copy_(master)
    return True


def _scaler_state(scaler: Any) -> dict[str, Any]:
    """Return the state of torch's gradient scaler, or of fairseq's own, whose scale fairseq saves itself."""
    if hasattr(scaler, "state_dict"):
        return dict(scaler.state_dict())
    return {name: value for name, value in vars(scaler).items() if name.startswith("_")}


def _set_scaler_state(scaler: Any, state: Mapping[str, Any]) -> None:
    if hasattr(scaler, "load_state_dict"):
        scaler.load_state_dict(dict(state))
    else:
        vars(scaler).update(state)


def overflowed(optimizer: Any, scale_before: float | None) -> bool:
    """Return whether an overflow skipped an AMP step: torch's gradient scaler lowers its scale then."""
    return scale_before is not None and loss_scale(optimizer) < scale_before  # type: ignore[operator]


def loss_scale(optimizer: Any) -> float | None:
    """Return the scale of torch's gradient scaler; None for optimizers without one."""
    get_scale = getattr(getattr(optimizer, "scaler", None), "get_scale", None)
    return None if get_scale is None else float(get_scale())
