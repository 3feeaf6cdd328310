"""Sentences for the demo's speech: a small grammar over a few hundred everyday words.

Every sentence is one short clause, so that a small model can learn from minutes of speech; the
grammar has millions of them, so that no test sentence needs to be met in training.
"""

from __future__ import annotations

import random
import re
from collections.abc import Collection

LEXICON = {
    "time": """today yesterday tonight sometimes usually often early late again suddenly finally later
        every_morning every_evening last_winter last_summer at_noon at_midnight on_monday on_friday on_sunday""",
    "person": """farmer teacher doctor captain sailor painter baker singer driver neighbour brother sister mother
        father uncle cousin soldier lawyer gardener student pilot king queen child stranger friend writer hunter
        dancer guard judge nurse""",
    "animal": """dog cat horse cow sheep rabbit fox bear wolf bird duck goose mouse lion tiger monkey donkey pony
        eagle owl spider turtle whale frog goat""",
    "thing": """book letter table chair window door lamp candle mirror bottle basket blanket bucket hammer ladder
        kettle knife spoon plate pocket ring coat hat shoe button ribbon coin purse clock bell drum guitar piano
        picture paper pencil box wheel boat wagon rope map key flag stone apple orange lemon pepper carrot potato
        cake sandwich""",
    "place": """house garden kitchen river mountain valley forest field village city market harbour bridge tower
        castle church school station island beach road street corner cellar attic stable barn mill meadow hill
        lake library office hotel theatre museum""",
    "quality": """old young small large heavy light quiet loud happy sad angry tired hungry lazy clever brave
        gentle strange famous broken empty golden silver wooden yellow green purple brown white black grey round
        narrow tall short warm cold wet dry clean dirty sharp soft rich poor""",
    "used": """carried found bought sold painted opened closed moved dropped watched followed cleaned borrowed
        lifted wanted needed liked remembered forgot noticed touched fixed washed hid brought kept lost stole""",
    "went": """walked ran waited slept worked danced stood sat travelled wandered hurried jumped climbed laughed
        listened rested played stayed vanished returned""",
    "number": "two three four five six seven eight nine ten eleven twelve twenty thirty forty fifty",
    "near": "near behind beside under above inside outside across around beyond",
    "how": "slowly quickly quietly carefully happily bravely alone together twice",
    "the": "my your his her our their the the the this that",
}
"""Words by kind; an underscore joins a phrase of two words."""

PATTERNS = (
    "the person used the quality thing",
    "the quality person went near the place",
    "the animal went near the quality place time",
    "the person used number thing+s near the place",
    "time the person used the thing how",
    "the quality animal used the thing",
    "number quality animal+s went how",
    "the person used the quality thing near the place",
    "number person+s went near the quality place",
    "the thing went near the place time",
)
"""Clauses by kind of word; ``+s`` makes the plural."""

IRREGULAR = {
    "child": "children",
    "goose": "geese",
    "knife": "knives",
    "mouse": "mice",
    "potato": "potatoes",
    "sheep": "sheep",
    "wolf": "wolves",
}


def sentence(draw: random.Random) -> str:
    """Return one lower-case sentence of letters and single spaces, drawn with ``draw``.

    >>> sentence(random.Random(1))
    'this goat waited above your round meadow last summer'
    """
    words = (_word(kind, draw) for kind in draw.choice(PATTERNS).split())
    return " ".join(words)


def sentences(count: int, draw: random.Random, unlike: Collection[str] = ()) -> list[str]:
    """Return ``count`` different sentences, none of which is in ``unlike``."""
    found: dict[str, None] = {}
    while len(found) < count:
        candidate = sentence(draw)
        if candidate not in unlike:
            found[candidate] = None
    return list(found)


def _word(kind: str, draw: random.Random) -> str:
    kind, plural, _ = kind.partition("+s")
    word = draw.choice(LEXICON[kind].split()).replace("_", " ")
    return _pluralise(word) if plural else word


def _pluralise(noun: str) -> str:
    """Return the plural of ``noun``.

    >>> [_pluralise(noun) for noun in ("dog", "pony", "fox", "child", "key")]
    ['dogs', 'ponies', 'foxes', 'children', 'keys']
    """
    if noun in IRREGULAR:
        return IRREGULAR[noun]
    if re.search(r"[^aeiou]y$", noun):
        return noun[:-1] + "ies"
    return noun + ("es" if re.search(r"(x|s|ch|sh)$", noun) else "s")
