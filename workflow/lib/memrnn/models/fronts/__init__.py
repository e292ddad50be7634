"""Front ends: what stands between the frames that a network sees and its recurrent layer (docs/method.md).

A front end maps a frame's pixels to features, which are inputs of the recurrent layer. `pixels` has none of its own:
features are pixels. `convnet` is a convolutional network, trained together with the rest.

A new front end is a file of its own with a subclass of `Front`, and an entry in `FRONTS` under the file's name. The
file also holds SETTINGS: what may be chosen in the section of its name of the configuration's `network`, a JSON schema
of each setting, by name, written out as a literal, as planning reads it without running the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from memrnn.models.fronts.convnet import Convnet
from memrnn.models.fronts.front import Front
from memrnn.models.fronts.pixels import Pixels

FRONTS: dict[str, type[Front]] = {"pixels": Pixels, "convnet": Convnet}
PIXELS = Pixels()


def choose(network: Mapping[str, Any], shape: tuple[int, int, int]) -> Front:
    """Front end of the configuration's section `network`, for frames of a shape (height, width, channels)."""
    name = network["front_end"]
    return from_settings({"name": name} | ({"shape": shape} | network[name] if name in network else {}))


def from_settings(settings: Mapping[str, Any]) -> Front:
    """Front end of what `Front.settings` returned, from a file or not.

    Raises:
        KeyError: no front end has this name.
        TypeError: the settings are not this front end's.
    """
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}
    return FRONTS[values.pop("name")](**values)
