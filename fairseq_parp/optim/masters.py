"""Where fairseq's optimizers keep the weights that they step.

``FP16Optimizer`` steps fp32 master copies, one flat tensor or one a parameter, and writes them over the model
after every step: zeros put only into the model would be undone. The other optimizers step the model itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
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
    masters = getattr(optimizer, "fp32_params", None)
    if masters is None:
        return {}
    parameters = optimizer.fp16_params
    if isinstance(masters, dict):
        views = _flat_views(masters, parameters)
    else:
        views = {id(parameter): master for parameter, master in zip(parameters, masters, strict=True)}
    return {name: views[id(parameter)].data for name, parameter in named.items() if id(parameter) in views}


def _flat_views(masters: Mapping[Any, Tensor], parameters: list[Tensor]) -> dict[int, Tensor]:
    """Cut each device's flat master into views, in the order in which fairseq filled it."""
    views: dict[int, Tensor] = {}
    offsets: dict[Any, int] = defaultdict(int)
    for parameter in parameters:
        device = next(iter(masters)) if len(masters) == 1 else parameter.device.index
        start, size = offsets[device], parameter.numel()
        views[id(parameter)] = masters[device].data[start : start + size].view(parameter.shape)
        offsets[device] += size
    return views


def overflowed(optimizer: Any, scale_before: float | None) -> bool:
    """Tell whether an AMP step was skipped for an overflow: torch's gradient scaler lowers its scale then."""
    return scale_before is not None and loss_scale(optimizer) < scale_before  # type: ignore[operator]


def loss_scale(optimizer: Any) -> float | None:
    """Return the scale of torch's gradient scaler; None for optimizers without one."""
    get_scale = getattr(getattr(optimizer, "scaler", None), "get_scale", None)
    return None if get_scale is None else float(get_scale())
