"""The engine's settings that the benchmarks compare, as sections of the configuration; `exact` is the published one."""

from typing import Any

SETTINGS: dict[str, dict[str, Any]] = {
    "exact": {"precision": "float32", "shared_frames": None},
    "bf16": {"precision": "bfloat16", "shared_frames": None},
    "shared": {"precision": "float32", "shared_frames": 64},
    "bf16_shared": {"precision": "bfloat16", "shared_frames": 64},
}
