"""Documents made wrong at random, for tests of what reads them."""

import copy
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from edgepose.errors import EdgePoseError

__all__ = ["check_reader", "damage"]

NASTY: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        2,
        3.5,
        -0.0,
        1e308,
        -1e308,
        5e-324,
        float("nan"),
        float("inf"),
        2**31,
        2**63 - 1,
        2**63,
        10**30,
        10**400,
    ),
    *("", "x", "coco", "0", "\ud800", "\x1b[31m", "a\0b", "../../etc/passwd", "name\nname", "é" * 300, "9" * 400),
    *([], {}, [[]], [None], [1, 2], ["a", "b"], {"a": {}}, {"": 1}, [0.5] * 300),
)


def check_reader(document: dict[str, Any], read: Callable[[str], Any], write: Callable[[Any], str], *, count: int, seed: int) -> None:
    """Assert that each of ``count`` damaged copies is refused as edgepose refuses, or loads and can be written, read again and shown.

    Args:
        document: a right one, as plain JSON values.
        read: reads JSON text.
        write: the way back.
        count: number of copies.
        seed: of the damage.
    """
    assert write(read(json.dumps(document)))
    loaded = longest = 0
    for number in range(count):
        generator = random.Random(f"{seed}-{number}")
        damaged = copy.deepcopy(document)
        for _ in range(generator.choice((1, 1, 1, 2, 4))):
            damage(damaged, generator)
        try:
            value = read(json.dumps(damaged))
        except EdgePoseError as error:
            message = str(error)
            message.encode()
            longest = max(longest, len(message))
            continue
        except Exception as error:
            pytest.fail(f"copy {number} of seed {seed} raises {error!r}")
        loaded += 1
        text = write(value)
        text.encode()
        repr(value).encode()
        assert read(text) == value
    assert longest < 2000, "error messages are read by people"
    assert 0 < loaded < count, "some damage does no harm, and some does"


def damage(document: dict[str, Any], generator: random.Random) -> None:
    """Make one thing in a document wrong."""
    places = list(_places(document))
    parent, key = generator.choice(places)
    how = generator.randrange(8)
    if how < 4:
        parent[key] = copy.deepcopy(generator.choice(NASTY))
    elif how == 4:
        del parent[key]
    elif how == 5:
        # What stands elsewhere in the document is more often plausible than what comes from outside.
        other, name = generator.choice(places)
        if name in other if isinstance(other, dict) else name < len(other):
            parent[key] = copy.deepcopy(other[name])
    elif how == 6:
        deep: Any = parent[key]
        for _ in range(generator.choice((1, 2, 120))):
            deep = [deep] if generator.random() < 0.5 else {"a": deep}
        parent[key] = deep
    elif isinstance(parent, dict):
        parent[generator.choice(("", "extra", "\ud800", "name", "x" * 5000))] = copy.deepcopy(generator.choice(NASTY))
    else:
        parent += copy.deepcopy(parent) * generator.choice((1, 3))


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    for key, item in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, key
        if isinstance(item, dict | list):
            yield from _places(item)
