"""What a caption says, as a small logical form, and which scenes it is true of.

A meaning is a conjunction: every phrase holds, the background is the one named, there are as many
objects as said, and the first phrase's object stands in the named relation to the second's.
Whatever a caption leaves out is None and true of every scene. "A red circle" means at least one;
"two red circles" means exactly two.

The phrases of one caption never describe the same object (captions.py sees to it), so that they
can be checked one by one.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool

from model.data.scenes.graph import (
    BACKGROUNDS,
    COLOURS,
    KINDS,
    MAX_OBJECTS,
    SIZES,
    Scene,
    SceneObject,
)

ATTRIBUTES = ("colour", "kind", "size", "column", "row")
RELATIONS = ("left of", "right of", "above", "below")


@dataclass(frozen=True)
class Phrase:
    """A kind of object that a caption mentions, and how many of them there are.

    Attributes:
        colour: One of COLOURS, or None: any.
        kind: One of KINDS, or None.
        size: One of SIZES, or None.
        column: 0 left, 1 middle, 2 right, or None.
        row: 0 top, 1 middle, 2 bottom, or None.
        at_least: How many objects must be like that.
        at_most: How many may be, or None: any number.
    """

    colour: str | None = None
    kind: str | None = None
    size: str | None = None
    column: int | None = None
    row: int | None = None
    at_least: int = 1
    at_most: int | None = None


@dataclass(frozen=True)
class Meaning:
    """The logical form of one caption; `relation` holds between the first two phrases."""

    phrases: tuple[Phrase, ...]
    background: str | None = None
    object_count: int | None = None
    relation: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the meaning as plain lists and dictionaries, without what it leaves open."""
        phrases = [_without_none(asdict(phrase)) for phrase in self.phrases]
        rest = {"background": self.background, "object_count": self.object_count}
        return _without_none({"phrases": phrases, **rest, "relation": self.relation})

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "Meaning":
        """Return the meaning that `as_json` wrote."""
        phrases = tuple(Phrase(**phrase) for phrase in fields["phrases"])
        return cls(**{**fields, "phrases": phrases})


def describes(phrase: Phrase, thing: SceneObject | Phrase) -> bool:
    """Return whether an object (or, given a phrase, some object) is as the phrase says."""
    return all(
        getattr(phrase, name) is None
        or getattr(thing, name) is None
        or getattr(phrase, name) == getattr(thing, name)
        for name in ATTRIBUTES
    )


def stands(relation: str, subject: SceneObject, other: SceneObject) -> bool:
    """Return whether the subject stands in the relation to the other object.

    The longer way decides: left of means further to the left than up or down.
    """
    right, down = other.x - subject.x, other.y - subject.y
    towards = {"left of": right, "right of": -right, "above": down, "below": -down}[relation]
    return towards > 0 and towards >= max(abs(right), abs(down))


def fits(scenes: Sequence[Scene], meanings: Sequence[Meaning]) -> Bool[np.ndarray, "scene meaning"]:
    """Return which meanings are true of which scenes."""
    table = _SceneTable(scenes)
    answers = np.empty((len(meanings), len(scenes)), dtype=bool)
    # One row at a time: each is a few operations over all scenes, and phrases recur.
    for answer, meaning in zip(answers, meanings, strict=True):
        answer[:] = table.fitting(meaning)
    return answers.T


class _SceneTable:
    """All objects of many scenes as arrays (scene, object), padded with -1."""

    def __init__(self, scenes: Sequence[Scene]) -> None:
        shape = (len(scenes), max([MAX_OBJECTS, *(len(scene.objects) for scene in scenes)]))
        self.attributes = {name: np.full(shape, -1, dtype=np.int8) for name in ATTRIBUTES}
        x, y = np.full(shape, np.nan), np.full(shape, np.nan)
        for place, scene in enumerate(scenes):
            for slot, thing in enumerate(scene.objects):
                for name in ATTRIBUTES:
                    self.attributes[name][place, slot] = _number(name, getattr(thing, name))
                x[place, slot], y[place, slot] = thing.x, thing.y
        self.is_object = self.attributes["colour"] >= 0
        self.backgrounds = np.array([BACKGROUNDS.index(scene.background) for scene in scenes])
        self.object_counts = self.is_object.sum(axis=1)
        # [scene, subject, other]: how much further right and down the other one is; NaN for padding
        self.right = x[:, None, :] - x[:, :, None]
        self.down = y[:, None, :] - y[:, :, None]
        self._matches: dict[Phrase, np.ndarray] = {}

    def fitting(self, meaning: Meaning) -> Bool[np.ndarray, " scene"]:
        """Return the scenes of which a meaning is true."""
        answer = np.ones(len(self.backgrounds), dtype=bool)
        if meaning.background is not None:
            answer &= self.backgrounds == BACKGROUNDS.index(meaning.background)
        if meaning.object_count is not None:
            answer &= self.object_counts == meaning.object_count
        for phrase in meaning.phrases:
            count = self._matching(phrase).sum(axis=1)
            answer &= count >= phrase.at_least
            if phrase.at_most is not None:
                answer &= count <= phrase.at_most
        if meaning.relation is not None:
            subject, other = (self._matching(phrase) for phrase in meaning.phrases[:2])
            pairs = subject[:, :, None] & other[:, None, :] & self._standing(meaning.relation)
            answer &= pairs.any(axis=(1, 2))
        return answer

    def _matching(self, phrase: Phrase) -> Bool[np.ndarray, "scene object"]:
        """Return the objects that a phrase describes."""
        if phrase not in self._matches:
            matches = self.is_object.copy()
            for name in ATTRIBUTES:
                wanted = getattr(phrase, name)
                if wanted is not None:
                    matches &= self.attributes[name] == _number(name, wanted)
            self._matches[phrase] = matches
        return self._matches[phrase]

    def _standing(self, relation: str) -> Bool[np.ndarray, "scene object object"]:
        """Return whether the first object of each pair stands in the relation to the second."""
        towards = {
            "left of": self.right,
            "right of": -self.right,
            "above": self.down,
            "below": -self.down,
        }[relation]
        furthest = np.maximum(np.abs(self.right), np.abs(self.down))
        return (towards > 0) & (towards >= furthest)


def _number(attribute: str, value: Any) -> int:
    """Return the number that stands for a value in a table of scenes."""
    names = {"colour": COLOURS, "kind": KINDS, "size": SIZES}.get(attribute)
    return int(value) if names is None else names.index(value)


def _without_none(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
