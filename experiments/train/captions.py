"""The closed caption grammar: `a|an <object> <motion> on <colour>`, its words and its token ids."""

import itertools

import torch

OBJECTS = ["cat", "panda", "frog", "penguin", "duck", "turtle", "ladybug", "apple", "strawberry", "car", "bus",
           "rocket", "ball", "heart", "star", "mushroom"]
MOTIONS = ["moves left", "moves right", "moves up", "moves down", "spins", "grows", "shrinks", "bounces"]
COLOURS = {"red": (205, 60, 62), "orange": (235, 150, 62), "yellow": (240, 216, 92), "green": (78, 172, 92),
           "blue": (66, 118, 214), "purple": (138, 84, 190), "pink": (242, 158, 192), "gray": (136, 140, 146)}
COLOUR_NAMES = list(COLOURS)
WORDS = ["a", "an", "on"] + OBJECTS + COLOUR_NAMES + sorted({w for m in MOTIONS for w in m.split()})
VOCAB = {word: i for i, word in enumerate(WORDS)}
TEXT_LEN = 16
PAD = -1


def caption(o, m, c):
    """The caption of (object, motion, colour) indices."""
    name = OBJECTS[o]
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name} {MOTIONS[m]} on {COLOUR_NAMES[c]}"


def held_out(o, m, c):
    """The fixed rule: 64 of the 1,024 captions, each pair of (object, motion, colour) still trained on."""
    return (3 * o + 5 * m + 7 * c) % 16 == 0


def combinations(held):
    """All (object, motion, colour) that are held out, or all that are trained on: [n, 3] int64."""
    every = itertools.product(range(len(OBJECTS)), range(len(MOTIONS)), range(len(COLOURS)))
    return torch.tensor([q for q in every if held_out(*q) == held])


def token_ids(text):
    """[16] int64, PAD after the last word."""
    ids = [VOCAB[word] for word in text.split(" ")]
    return torch.tensor(ids + [PAD] * (TEXT_LEN - len(ids)))


def id_table():
    """Token ids of every caption: [object, motion, colour, 16]."""
    shape = (len(OBJECTS), len(MOTIONS), len(COLOURS))
    rows = [token_ids(caption(*q)) for q in itertools.product(*map(range, shape))]
    return torch.stack(rows).view(*shape, TEXT_LEN)
