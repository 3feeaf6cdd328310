"""The layer and the kind of module that a parameter belongs to, by its name."""

from __future__ import annotations

import re

from fairseq_parp.architectures.families import distinct_families

_LAYER = re.compile(r"((?:.*\.)?(?:layers|layer|blocks)\.\d+)\.")
_KIND = re.compile(r"(?:.*\.)?(?:layers|layer|blocks)\.\d+\.(?:self_attn\.|attn\.|mlp\.)?(.+)\.(?:weight|bias)")


def layer_of(name: str) -> str:
    """Return the layer that a parameter belongs to, or its module if the name has no layer.

    >>> layer_of("w2v_encoder.w2v_model.encoder.layers.3.fc1.weight"), layer_of("proj.bias")
    ('w2v_encoder.w2v_model.encoder.layers.3', 'proj')
    """
    match = _LAYER.match(name) or _in_table(name)
    return match.group(1) if match else name.rpartition(".")[0]


def kind_of(name: str) -> str:
    """Return the kind of module that a parameter belongs to, the same in every layer.

    >>> kind_of("encoder.layers.3.self_attn.k_proj.bias"), kind_of("encoder.layers.0.ffn1.w_1.weight")
    ('k_proj', 'ffn1.w_1')
    """
    if match := _KIND.fullmatch(name):
        return match.group(1)
    match = _in_table(name)
    return match.group("kind") if match else name.rpartition(".")[0]


def _in_table(name: str) -> re.Match[str] | None:
    """Match a name whose layers are called otherwise than usual with the rows of the table."""
    rows = (rf"({family.layer})\.(?P<kind>.+?)(?:\.(?:weight|bias))?" for family in distinct_families())
    return next(filter(None, (re.fullmatch(row, name) for row in rows)), None)
