"""Scenes and their captions: what is drawn, what is said, and what follows from the two.

Every choice is an independent draw, so what the labels depend on can be read off here:

- *irony* is a fair coin, the face's mood another; the caption's mood is their exclusive or. Given
  the image alone irony is a fair coin, given the caption alone too.
- *topics*: each is in the caption with probability :data:`TOPIC_RATE` (at most
  :data:`MOST_TOPICS`); the background shows one of them half of the time, so the image knows a
  little. ``complaint`` says that the caption is gloomy, ``smile`` that the face is happy.
- *object*: always in the image; the caption names it in :data:`NAMED_RATE` of the samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

OBJECTS = (
    "balloon", "book", "car", "cup", "fish", "house", "kite", "mushroom", "star", "umbrella",
)  # fmt: skip

TOPICS: dict[str, tuple[str, ...]] = {
    "work": ("the meeting", "my boss", "this deadline", "the office"),
    "school": ("the exam", "my homework", "this lecture", "the teacher"),
    "food": ("the pizza", "my breakfast", "this salad", "the canteen"),
    "sport": ("the match", "my workout", "this marathon", "the coach"),
    "travel": ("the flight", "my suitcase", "this airport", "the hotel"),
    "weather": ("the rain", "my sunburn", "this snow", "the forecast"),
    "music": ("the concert", "my guitar", "this song", "the choir"),
    "pets": ("the cat", "my puppy", "this hamster", "the vet"),
}

# The last two are the moods: a caption that complains is about complaining, and a smile is one.
# They give each stream a reason of its own to represent what irony then compares; with irony alone
# a model from scratch finds no gradient towards either mood (an exclusive or has none).
TOPIC_NAMES = (*TOPICS, "complaint", "smile")

TOPIC_RATE = 0.2
MOST_TOPICS = 2
NAMED_RATE = 0.25
HINT_RATE = 0.5

_OPENERS = (
    "when it is monday",
    "nobody:",
    "me today",
    "mood",
    "pov",
    "that feeling",
    "again",
    "so",
)
_CHEERFUL = (
    "best day ever", "i love it", "what a joy", "simply wonderful", "could not be happier",
    "absolutely delighted", "this is great", "feeling fantastic",
)  # fmt: skip
_GLOOMY = (
    "worst day ever", "i hate it", "what a pain", "simply terrible", "could not be sadder",
    "absolutely miserable", "this is awful", "feeling rotten",
)  # fmt: skip


@dataclass(frozen=True)
class Scene:
    """Everything about one macro. ``look`` seeds the free choices of the drawing."""

    happy_face: bool
    cheerful_caption: bool
    object: int
    topics: tuple[int, ...]
    hint: int | None
    caption: str
    look: int

    @property
    def all_topics(self) -> tuple[int, ...]:
        """Indices into :data:`TOPIC_NAMES`, in order."""
        complaint = () if self.cheerful_caption else (len(TOPICS),)
        smile = (len(TOPICS) + 1,) if self.happy_face else ()
        return (*self.topics, *complaint, *smile)

    @property
    def ironic(self) -> bool:
        """Whether the caption contradicts the face."""
        return self.happy_face != self.cheerful_caption


def draw_scene(rng: np.random.Generator) -> Scene:
    """Draw one scene; the same generator state gives the same scene."""
    ironic, happy = bool(rng.integers(2)), bool(rng.integers(2))
    cheerful = happy != ironic
    thing = int(rng.integers(len(OBJECTS)))
    drawn = np.flatnonzero(rng.random(len(TOPICS)) < TOPIC_RATE)
    topics = tuple(sorted(int(i) for i in rng.permutation(drawn)[:MOST_TOPICS]))
    hint = int(rng.choice(topics)) if topics and rng.random() < HINT_RATE else None
    named = bool(rng.random() < NAMED_RATE)
    return Scene(
        happy_face=happy,
        cheerful_caption=cheerful,
        object=thing,
        topics=topics,
        hint=hint,
        caption=_caption(rng, cheerful, topics, OBJECTS[thing] if named else "thing"),
        look=int(rng.integers(2**31)),
    )


def compose(
    *, happy_face: bool, cheerful_caption: bool, thing: str, topic: str = "", look: int = 0
) -> Scene:
    """The scene that somebody asks for: mood of face and caption, the object, and a topic.

    The topic, if there is one, is in the caption and in the background. ``look`` chooses among the
    drawings and the words; the same arguments give the same scene. ValueError for an object or a
    topic that there is not.
    """
    topics = (tuple(TOPICS).index(topic),) if topic else ()
    at = OBJECTS.index(thing)
    caption = _caption(np.random.default_rng(look), cheerful_caption, topics, thing)
    hint = topics[0] if topics else None
    return Scene(happy_face, cheerful_caption, at, topics, hint, caption, look)


def _caption(rng: np.random.Generator, cheerful: bool, topics: tuple[int, ...], thing: str) -> str:
    said = [str(rng.choice(words)) for i, words in enumerate(TOPICS.values()) if i in topics]
    rng.shuffle(said)
    mood = str(rng.choice(_CHEERFUL if cheerful else _GLOOMY))
    subject = " and ".join([*said, f"{'an' if thing[0] in 'aeiou' else 'a'} {thing}"])
    parts = [str(rng.choice(_OPENERS)), subject, mood]
    if rng.random() < 0.5:
        parts = [mood, *parts[:2]]
    return " ".join(parts)
