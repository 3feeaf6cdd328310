"""Speech made with espeak-ng, through the library that the ``espeakng_loader`` wheel carries.

The library has one voice at a time and a random state of its own, so a process makes the same sound
for the same list of utterances only when it starts fresh: ``corpus`` gives each voice its own process.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import soxr
from numpy.typing import NDArray

from fairseq_parp.errors import MissingToolError

SAMPLE_RATE = 16_000
Audio = NDArray[np.float32]

# Values of espeak-ng's speak_lib.h.
_RETURN_AUDIO_SYNCHRONOUSLY = 2
_DO_NOT_EXIT = 0x8000
_BY_CHARACTER = 1
_UTF8 = 1
_RATE, _PITCH, _RANGE = 1, 3, 4
_NO_MORE_EVENTS, _WORD = 0, 1


class _Event(ctypes.Structure):
    """espeak-ng's ``espeak_EVENT``: characters count from 1, the time is in milliseconds of the utterance."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("identifier", ctypes.c_uint),
        ("position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("milliseconds", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    )


_Collector = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


@dataclass(frozen=True)
class Voice:
    """How an utterance is spoken: accent and variant name an espeak-ng voice, the rest sets its knobs.

    Args:
        accent: An English accent, such as ``en-us``.
        variant: A speaker of that accent, such as ``m1`` or ``f2``.
        rate: Words per minute.
        pitch: Base pitch, 0 to 99.
        intonation: Range of the pitch, 0 (monotone) to 99.
    """

    accent: str
    variant: str
    rate: int = 170
    pitch: int = 50
    intonation: int = 50

    @property
    def name(self) -> str:
        """The name under which espeak-ng knows accent and variant."""
        return f"{self.accent}+{self.variant}"


class SpokenWord(NamedTuple):
    """A word of an utterance; espeak-ng may run short words together (``there is``).

    Attributes:
        text: the word as in the utterance's text.
        start, end: times in seconds, whole milliseconds.
    """

    text: str
    start: float
    end: float


class Spoken(NamedTuple):
    """An utterance.

    Attributes:
        audio: (samples,) 16 kHz mono, within [-1, 1].
        words: the words in order, without gaps: a word ends where the next one starts.
    """

    audio: Audio
    words: tuple[SpokenWord, ...]


class Synthesiser:
    """The espeak-ng library, started once in this process."""

    def __init__(self) -> None:
        try:
            import espeakng_loader
        except ImportError:
            raise MissingToolError("espeakng-loader is not installed: pip install 'fairseq_parp[demo]'") from None
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        data = espeakng_loader.get_data_path().encode()
        self._rate: int = self._library.espeak_Initialize(_RETURN_AUDIO_SYNCHRONOUSLY, 0, data, _DO_NOT_EXIT)
        self._blocks: list[NDArray[np.int16]] = []
        self._starts: list[tuple[int, int, float]] = []
        self._collector = _Collector(self._collect)  # held here: the library keeps only its address
        self._library.espeak_SetSynthCallback(self._collector)

    def say(self, text: str, voice: Voice) -> Spoken:
        """Return ``text`` spoken by ``voice``, and the times of its words."""
        if self._library.espeak_SetVoiceByName(voice.name.encode()):
            raise MissingToolError(f"espeak-ng has no voice {voice.name!r}")
        for parameter, value in ((_RATE, voice.rate), (_PITCH, voice.pitch), (_RANGE, voice.intonation)):
            self._library.espeak_SetParameter(parameter, value, 0)
        self._blocks.clear()
        self._starts.clear()
        line = text.encode()
        size = ctypes.c_size_t(len(line) + 1)
        self._library.espeak_Synth(line, size, 0, _BY_CHARACTER, 0, _UTF8, None, None)
        samples: Audio = np.concatenate(self._blocks).astype(np.float32) / np.float32(2**15)
        audio = np.asarray(soxr.resample(samples, self._rate, SAMPLE_RATE), dtype=np.float32)
        return Spoken(audio, self._words(text, samples))

    def _words(self, text: str, samples: Audio) -> tuple[SpokenWord, ...]:
        milliseconds = 1000 * int(np.flatnonzero(samples)[-1] + 1) // self._rate  # silence may follow the last word
        starts = [*self._starts, (0, 0, milliseconds / 1000)]
        return tuple(
            SpokenWord(text[position : position + length], start, end)
            for (position, length, start), (_, _, end) in pairwise(starts)
        )

    def _collect(self, samples: ctypes._Pointer[ctypes.c_short], count: int, events: ctypes._Pointer[_Event]) -> int:
        if count > 0:
            self._blocks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        number = 0
        while events and events[number].type != _NO_MORE_EVENTS:
            event = events[number]
            if event.type == _WORD:
                self._starts.append((event.position - 1, event.length, event.milliseconds / 1000))
            number += 1
        return 0


def speak(lines: Sequence[tuple[str, Voice]], seed: int) -> Iterator[Spoken]:
    """Yield each line as a plain microphone would hear it: its own loudness, some noise.

    The noise also keeps espeak's digital silence out of the model, which real audio never has.
    """
    synthesiser, draw = Synthesiser(), np.random.default_rng(seed)
    for text, voice in lines:
        spoken = synthesiser.say(text, voice)
        yield spoken._replace(audio=_recorded(spoken.audio, draw))


def _recorded(clean: Audio, draw: np.random.Generator) -> Audio:
    loudness = draw.uniform(0.03, 0.09) / np.sqrt(np.mean(clean**2))
    signal_to_noise = 10 ** (draw.uniform(15, 30) / 20)
    noise = draw.standard_normal(len(clean)) * np.sqrt(np.mean(clean**2)) / signal_to_noise
    return np.asarray(np.clip((clean + noise) * loudness, -1, 1), dtype=np.float32)
