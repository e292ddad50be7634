"""The engine's settings that the benchmarks compare, as sections of the configuration; `exact` is the published one.

Those that end in `_onednn` compute float32 products by oneDNN where that is exact and, on this processor, quicker.
"""

from typing import Any

SETTINGS: dict[str, dict[str, Any]] = {
    "exact": {"precision": "float32", "shared_frames": None, "float32_library": "mkl"},
    "exact_onednn": {"precision": "float32", "shared_frames": None, "float32_library": "auto"},
    "bf16": {"precision": "bfloat16", "shared_frames": None, "float32_library": "auto"},
    "shared": {"precision": "float32", "shared_frames": 64, "float32_library": "mkl"},
    "shared_onednn": {"precision": "float32", "shared_frames": 64, "float32_library": "auto"},
    "bf16_shared": {"precision": "bfloat16", "shared_frames": 64, "float32_library": "auto"},
}


def library_of(setting: str) -> str:
    """Which library of float32 products a setting asks for, also one that is not the engine's."""
    if setting in SETTINGS:
        return SETTINGS[setting]["float32_library"]
    return "auto" if setting.endswith("_onednn") else "mkl"
