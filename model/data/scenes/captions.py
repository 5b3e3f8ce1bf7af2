"""Captions of a scene: five different ones, each with its meaning.

- A caption is put together from noun phrases ("two small blue boats"), places, a relation or a
  number, and the background; words with the same meaning are exchanged at random.
- It says less than the scene holds, but never anything wrong: text and meaning are made together.
- A few are as short as "a red circle".
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from model.data.scenes.graph import Group, Scene, SceneObject, groups_of
from model.data.scenes.meaning import RELATIONS, Meaning, Phrase, describes, stands
from model.data.scenes.words import (
    BACKGROUND_NOUNS,
    BACKGROUND_WORDS,
    COLOUR_WORDS,
    KIND_WORDS,
    NUMBER_WORDS,
    PLACE_WORDS,
    RELATION_WORDS,
    SIZE_WORDS,
)

CAPTION_COUNT = 5

# The dials: how much a caption tells. Telling less lowers what even the oracle can reach.
SHORT_SHARE = 0.024  # with those that come of themselves 2 to 3 % are as short as "a red circle"
SIZE_SHARE = 0.22
BACKGROUND_SHARE = 0.60
PLACE_SHARE = 0.10
ALONE_BACKGROUND_SHARE = 0.97
ALONE_SIZE_SHARE = 0.55  # of a mention that stands alone in its caption
ALONE_PLACE_SHARE = 0.22
COLOUR_LEFT_OUT_SHARE = 0.03
KIND_LEFT_OUT_SHARE = 0.02
SYNONYM_SHARE = 0.12
STYLE_WEIGHTS = {"list": 0.54, "relation": 0.08, "count": 0.10, "partial": 0.28}
LONGEST_CAPTION_WORDS = 16


@dataclass(frozen=True)
class Caption:
    """A caption and what it says."""

    text: str
    meaning: Meaning


def write_captions(scene: Scene, rng: random.Random) -> tuple[Caption, ...]:
    """Return CAPTION_COUNT captions of a scene, no two with the same words, all of them true."""
    writer = _Writer(scene, rng)
    captions: dict[str, Caption] = {}
    while len(captions) < CAPTION_COUNT:
        caption = writer.caption()
        if len(caption.text.split()) <= LONGEST_CAPTION_WORDS:
            captions.setdefault(caption.text, caption)
    return tuple(captions.values())


@dataclass(frozen=True)
class _Mention:
    """A noun phrase: words without article or number, their meaning, the place said after."""

    words: str
    phrase: Phrase
    place: str = ""

    def indefinite(self) -> str:
        """Return "a red star", "two red stars" or "some red stars", with the place."""
        if self.phrase.at_most is not None:
            article = NUMBER_WORDS[self.phrase.at_most]
        elif self.phrase.at_least > 1:
            article = "some"
        else:
            article = "an" if self.words[0] in "aeiou" else "a"
        return " ".join(part for part in (article, self.words, self.place) if part)


class _Writer:
    """Writes captions of one scene."""

    def __init__(self, scene: Scene, rng: random.Random) -> None:
        self.scene = scene
        self.groups = groups_of(scene)
        self.rng = rng

    def caption(self) -> Caption:
        """Return one caption, of any style that the scene allows."""
        if self.rng.random() < SHORT_SHARE:
            mention = self.mention(self.rng.choice(self.groups), full=True)
            return Caption(mention.indefinite(), Meaning((mention.phrase,)))
        style = self.rng.choices(list(STYLE_WEIGHTS), list(STYLE_WEIGHTS.values()))[0]
        if style == "relation" and (caption := self.relation_caption()) is not None:
            return caption
        if style == "count":
            return self.count_caption()
        return self.list_caption(leave_one_out=style == "partial")

    # Styles

    def list_caption(self, *, leave_one_out: bool) -> Caption:
        """Return "a red star and two small boats on the beach", in one of several orders."""
        mentions = self.mentions(leave_one_out=leave_one_out)
        things = self.joined(mentions)
        phrases = tuple(mention.phrase for mention in mentions)
        if not self.says_background(len(mentions)):
            opening = self.rng.choice(("", "", "", "a picture of", self.there_is(mentions)))
            return Caption(f"{opening} {things}".strip(), Meaning(phrases))
        background = self.scene.background
        where = self.rng.choice(BACKGROUND_WORDS[background])
        text = self.rng.choice(
            (
                f"{things} {where}",
                f"{things} {where}",
                f"{things} {where}",
                f"{where}, {things}",
                f"{self.rng.choice(BACKGROUND_NOUNS[background])} with {things}",
                f"{self.there_is(mentions)} {things} {where}",
            )
        )
        return Caption(text, Meaning(phrases, background=background))

    def relation_caption(self) -> Caption | None:
        """Return "a red star above a blue boat in the snow", or None without two single objects."""
        singles = [group for group in self.groups if group.count == 1]
        if len(singles) < 2:
            return None
        pair = self.rng.sample(singles, 2)
        first, second = (self.member(group) for group in pair)
        relation = next(name for name in RELATIONS if stands(name, first, second))
        mentions = self.unmistakable(pair, with_place=False)
        words = self.rng.choice(RELATION_WORDS[relation])
        subject, other = mentions
        if self.rng.random() < 0.2:
            text = f"the {subject.words} is {words} the {other.words}"
        else:
            text = f"{subject.indefinite()} {words} {other.indefinite()}"
        background = None
        if self.says_background(2):
            background = self.scene.background
            text = f"{text} {self.rng.choice(BACKGROUND_WORDS[background])}"
        phrases = (subject.phrase, other.phrase)
        return Caption(text, Meaning(phrases, background=background, relation=relation))

    def count_caption(self) -> Caption:
        """Return "only a red star at night" or "four things in the snow, including a star"."""
        total = len(self.scene.objects)
        background = self.scene.background if self.says_background(1) else None
        where = self.rng.choice(BACKGROUND_WORDS[background]) if background else ""
        if len(self.groups) < 3:
            mentions = self.unmistakable(self.shuffled(self.groups), with_place=False)
            opening = self.rng.choice(("just", "only", "nothing but"))
            text = f"{opening} {self.joined(mentions)} {where}"
        else:
            mentions = self.mentions(leave_one_out=True)[: self.rng.randint(1, 2)]
            noun = self.rng.choice(("things", "objects"))
            including = self.rng.choice(("including", "among them"))
            things = self.joined(mentions)
            text = f"{NUMBER_WORDS[total]} {noun} {where}".strip() + f", {including} {things}"
        phrases = tuple(mention.phrase for mention in mentions)
        meaning = Meaning(phrases, background=background, object_count=total)
        return Caption(text.strip(), meaning)

    # Parts

    def mentions(self, *, leave_one_out: bool) -> list[_Mention]:
        """Return mentions of all groups, or of all but one of several, in any order."""
        groups = self.shuffled(self.groups)
        if leave_one_out and len(groups) > 1:
            groups = groups[1:]
        return self.unmistakable(groups, with_place=True)

    def unmistakable(self, groups: Sequence[Group], *, with_place: bool) -> list[_Mention]:
        """Return mentions of the groups, no two of which one object could answer."""
        is_alone = len(groups) == 1
        mentions = [
            self.mention(group, with_place=with_place, is_alone=is_alone) for group in groups
        ]
        for one, other in combinations(range(len(groups)), 2):
            if describes(mentions[one].phrase, mentions[other].phrase):
                mentions[one] = self.mention(groups[one], full=True)
                mentions[other] = self.mention(groups[other], full=True)
        return mentions

    def mention(
        self,
        group: Group,
        *,
        full: bool = False,
        with_place: bool = False,
        is_alone: bool = False,
    ) -> _Mention:
        """Return a noun phrase for a group; `full` means colour and kind and nothing else."""
        phrase = Phrase(colour=group.colour, kind=group.kind)
        place = ""
        if not full:
            if self.rng.random() < (ALONE_SIZE_SHARE if is_alone else SIZE_SHARE):
                phrase = replace(phrase, size=group.size)
            left_out = self.rng.random()
            if left_out < COLOUR_LEFT_OUT_SHARE:
                phrase = replace(phrase, colour=None)
            elif left_out < COLOUR_LEFT_OUT_SHARE + KIND_LEFT_OUT_SHARE:
                phrase = replace(phrase, kind=None)
            share = ALONE_PLACE_SHARE if is_alone else PLACE_SHARE
            if with_place and group.count == 1 and self.rng.random() < share:
                thing = self.member(group)
                column, row = self.place_of(thing)
                place = self.rng.choice(PLACE_WORDS[column, row])
                phrase = replace(phrase, column=column, row=row)
        if group.count > 1:
            matching = sum(describes(phrase, thing) for thing in self.scene.objects)
            if self.rng.random() < 0.1:
                phrase = replace(phrase, at_least=2)
            else:
                phrase = replace(phrase, at_least=matching, at_most=matching)
        return _Mention(self.words(phrase), phrase, place)

    def words(self, phrase: Phrase) -> str:
        """Return "small red star" or "large purple things"."""
        is_plural = phrase.at_least > 1
        words = [
            self.synonym(SIZE_WORDS[phrase.size]) if phrase.size else "",
            self.synonym(COLOUR_WORDS[phrase.colour]) if phrase.colour else "",
        ]
        noun = self.synonym(KIND_WORDS[phrase.kind]) if phrase.kind else "thing"
        words.append(f"{noun}s" if is_plural else noun)
        return " ".join(word for word in words if word)

    def place_of(self, thing: SceneObject) -> tuple[int | None, int | None]:
        """Return the (column, row) to name, with None for what is not said."""
        column, row = thing.column, thing.row
        if column == 1 and row == 1:
            return 1, 1
        if column == 1:
            return None, row
        if row == 1:
            return column, None
        return self.rng.choice(((column, row), (column, row), (column, None), (None, row)))

    def joined(self, mentions: Sequence[_Mention]) -> str:
        """Return the mentions as a list: "a, b and c"."""
        texts = [mention.indefinite() for mention in mentions]
        if len(texts) == 1:
            return texts[0]
        link = self.rng.choice(("and", "and", "and", "with")) if len(texts) == 2 else "and"
        return f"{', '.join(texts[:-1])} {link} {texts[-1]}"

    def there_is(self, mentions: Sequence[_Mention]) -> str:
        """Return "there is" or "there are", as the first mention asks."""
        return "there are" if mentions[0].phrase.at_least > 1 else "there is"

    def says_background(self, mention_count: int) -> bool:
        """Return whether to name the background: more often where little else is said."""
        shares = {1: ALONE_BACKGROUND_SHARE, 2: BACKGROUND_SHARE}
        return self.rng.random() < shares.get(mention_count, 0.5 * BACKGROUND_SHARE)

    def member(self, group: Group) -> SceneObject:
        """Return the first object of a group."""
        wanted = (group.colour, group.kind, group.size)
        return next(t for t in self.scene.objects if (t.colour, t.kind, t.size) == wanted)

    def synonym(self, words: Sequence[str]) -> str:
        """Return the usual word, now and then another."""
        if len(words) > 1 and self.rng.random() < SYNONYM_SHARE:
            return self.rng.choice(words[1:])
        return words[0]

    def shuffled(self, groups: Sequence[Group]) -> list[Group]:
        """Return the groups in any order."""
        return self.rng.sample(list(groups), len(groups))
