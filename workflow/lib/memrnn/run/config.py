"""Validation of a run's configuration, before any job is planned.

The schema says what each key may hold; the checks here say how values must fit each other. Nothing here imports torch.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import difflib
import math
import re
import reprlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator, ValidationError, validators

from memrnn.data.downloads import COLLECTIONS
from memrnn.data.sources import SOURCES, class_names, image_files
from memrnn.models.cells import CLASSES
from memrnn.run.planning import longest_trial
from memrnn.tasks.protocols import PROTOCOLS, Lesson, schedule, step_of

TYPE_NAMES = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "object": "a section of keys",
    "array": "a list",
    "null": "null",
}

# JSON schema lets 20.0 pass for a whole number, and NaN and infinity for numbers; here they do not.
Validator = validators.extend(
    Draft202012Validator,
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine_many(
        {
            "integer": lambda checker, value: isinstance(value, int) and not isinstance(value, bool),
            "number": lambda checker, value: (
                isinstance(value, int | float) and not isinstance(value, bool) and -math.inf < value < math.inf
            ),
            "object": lambda checker, value: isinstance(value, Mapping),
        }
    ),
)

MOST_LINES = 100  # of a refusal
MOST_VALUES = 100_000  # a few lines of YAML can refer to the same lists until no memory would hold what they mean

Problem = tuple[str, Any, str]  # dotted path of the key, value found, what is allowed


class ConfigError(ValueError):
    """A configuration that cannot be run; the message has one line per problem."""


def validate(config: Mapping[str, Any], schema_path: str | Path) -> None:
    """Check a whole configuration against the schema, and its values against each other.

    Args:
        config: the merged configuration.
        schema_path: workflow/schemas/config.schema.yaml.
    Raises:
        ConfigError: lists every problem on a line of its own: the key's dotted path, the value found, what is allowed.
    """
    if _more_than(MOST_VALUES, config):
        found = f"configuration: found more than {MOST_VALUES} values, YAML's references written out; allowed: fewer"
        raise ConfigError(_refusal([found]))
    found = [*_validator(Path(schema_path)).iter_errors(config), *_errors_of_modes(config, Path(schema_path))]
    errors = sorted(found, key=lambda error: _dotted(error.absolute_path))
    # one missing key of a section is told once, though each missing key raises an error for the section
    problems = list(dict.fromkeys(problem for error in errors for problem in _schema_problems(error)))
    wrong = [key for key, _ in problems]
    for check, needs in CHECKS.items():
        # values are compared only where the schema found nothing wrong with them
        if not any(_overlap(key, need) for key in wrong for need in needs):
            problems += [(key, f"found {_show(found)}; allowed: {allowed}") for key, found, allowed in check(config)]
    lines = [f"{key or 'configuration'}: {text}" for key, text in problems]
    if lines:
        raise ConfigError(_refusal(lines))


def _refusal(lines: list[str]) -> str:
    if len(lines) > MOST_LINES:
        rest = len(lines) - MOST_LINES + 1
        lines[MOST_LINES - 1 :] = [f"configuration: found {rest} more problems; allowed: none"]
    count = "1 problem" if len(lines) == 1 else f"{len(lines)} problems"
    return "\n".join([f"The configuration has {count}:", *(f"  {line}" for line in lines)])


# Whole numbers that YAML reads as something else than they look like: 010 as 8, and 1:30 as 90.
MISREAD = re.compile(r"[-+]?0[0-7_]+|.*:.*")


def check_files(paths: Sequence[str | Path]) -> None:
    """Look in files of settings for what YAML lets pass: a key given twice, of which the last counts, and odd numbers.

    Raises:
        ConfigError: as for `validate`; it names file and line.
    """
    problems = []
    for path in paths:
        waiting, seen = [yaml.compose(Path(path).read_text(encoding="utf-8"))], set()
        while waiting:
            node = waiting.pop()
            if id(node) in seen:  # a reference to what stands elsewhere in the file
                continue
            seen.add(id(node))
            if isinstance(node, yaml.MappingNode):
                keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
                problems += [
                    f"{path}, line {key.start_mark.line + 1}: {key.value}: found a second time; allowed: once"
                    for place, (key, _) in enumerate(node.value)
                    if key.value in keys[:place]
                ]
                waiting += [each for pair in node.value for each in pair]
            elif isinstance(node, yaml.SequenceNode):
                waiting += node.value
            elif isinstance(node, yaml.ScalarNode) and node.tag.endswith(":int") and MISREAD.fullmatch(node.value):
                found = f"found {node.value}, which YAML reads as {yaml.safe_load(node.value)}"
                problems.append(f"{path}, line {node.start_mark.line + 1}: {found}; allowed: a plain whole number")
    if problems:
        raise ConfigError(_refusal(problems))


def retyped(value: Any, nested: bool = False) -> Any:
    """Settings of the command line with the types that they would have in a file.

    Snakemake reads numbers and truth values there, but what stands in brackets as text; this is read again as YAML.
    """
    if isinstance(value, Mapping):
        return {key: retyped(each, nested or isinstance(each, Mapping | list)) for key, each in value.items()}
    if isinstance(value, list):
        return [retyped(each, True) for each in value]
    with contextlib.suppress(yaml.YAMLError):
        return yaml.safe_load(value) if nested and isinstance(value, str) else value
    return value


def _more_than(most: int, config: Any) -> bool:
    """Whether a configuration has more values than that; one that contains itself has."""
    waiting, count = [config], 0
    while waiting and count <= most:
        part = waiting.pop()
        inner = part.values() if isinstance(part, Mapping) else part if isinstance(part, list) else ()
        count += 1 + len(inner)
        waiting.extend(inner)
    return count > most


@cache
def schema(path: str | Path) -> dict[str, Any]:
    """The schema with what the registries hold; not to be changed.

    Args:
        path: workflow/schemas/config.schema.yaml.
    """
    found = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    properties = found["properties"]
    for name in PROTOCOLS:
        properties["protocol_settings"]["properties"].setdefault(name, found["$defs"]["protocol"])
    for name, own in settings_of(FRONTS).items():
        if own:
            what = f"settings of the front end {name}; without effect for others"
            properties["network"]["properties"][name] = {"description": what, "type": "object", "properties": own}
    names = {
        "cells": list(CLASSES),
        "fronts": list(settings_of(FRONTS)),
        "penalties": list(settings_of(PENALTIES)),
        "protocols": list(PROTOCOLS),
        "sources": list(SOURCES),
    }
    waiting = [found]
    while waiting:
        part = waiting.pop()
        if "registry" in part:
            part["enum"] = names[part.pop("registry")]
        if "properties" in part:
            part.setdefault("additionalProperties", False)
            part.setdefault("required", list(part["properties"]))
        waiting += [inner for inner in part.values() if isinstance(inner, dict)]
    return found


@cache
def _validator(schema_path: Path) -> Draft202012Validator:
    return Validator(schema(schema_path))


def _errors_of_modes(config: Any, schema_path: Path) -> Iterator[ValidationError]:
    """What is wrong inside the sections of `mode_settings`, where a mode's penalty says which keys there are."""
    modes = config.get("mode_settings") if isinstance(config, Mapping) else None
    for name, settings in modes.items() if isinstance(modes, Mapping) else ():
        if isinstance(settings, Mapping):
            penalty = settings.get("penalty")
            named = None if "penalty" not in settings else str(penalty)
            for error in _mode_validator(schema_path, named).iter_errors(settings):
                error.path.extendleft([name, "mode_settings"])
                yield error


@cache
def _mode_validator(schema_path: Path, penalty: str | None) -> Draft202012Validator:
    """Of a mode with a penalty of this name; None for a mode without."""
    mode = copy.deepcopy(schema(schema_path)["$defs"]["mode"])
    properties, known = mode["properties"], settings_of(PENALTIES)
    if penalty in known:
        properties |= known[penalty]
        mode["required"] = ["strength", *known[penalty]]
    elif penalty is None:
        del properties["strength"]
    else:
        mode["additionalProperties"] = True  # the penalty's name is what is wrong
    return Validator(mode)


LIBRARY = Path(__file__).parents[1]
# Registries of what has settings of its own: the module, and the name in it. Their entries are files beside the module.
FRONTS = (LIBRARY / "models" / "fronts" / "__init__.py", "FRONTS")
PENALTIES = (LIBRARY / "training" / "penalties" / "__init__.py", "PENALTIES")


@cache
def settings_of(registry: tuple[Path, str]) -> dict[str, dict[str, Any]]:
    """Settings of everything in a registry: a schema of each setting, by name, of each entry.

    They are read from the text of the registry and of its entries' files: running these would import torch.

    Raises:
        ValueError: an entry's SETTINGS is missing or not written out as a literal.
    """
    found = {}
    for key in _assigned(*registry).keys:
        path = registry[0].with_name(f"{key.value}.py")
        try:
            found[key.value] = ast.literal_eval(_assigned(path, "SETTINGS"))
        except ValueError as error:
            raise ValueError(f"{path}: expected SETTINGS as a literal, found {error}") from error
    return found


def _assigned(path: Path, name: str) -> Any:
    """What a module assigns to a name, as a syntax tree."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            return node.value
    raise ValueError(f"no {name} in {path}")


def _schema_problems(error: ValidationError) -> Iterator[tuple[str, str]]:
    """Dotted path and text of each problem behind one of the schema's errors."""
    key, value, schema = _dotted(error.absolute_path), error.instance, error.schema
    if error.validator == "required":
        for name in [name for name in schema["required"] if name not in value]:
            yield _join(key, name), f"missing; allowed: {_allowed(schema['properties'][name])}"
    elif error.validator == "additionalProperties":
        for name in [name for name in value if name not in schema["properties"]]:
            guess = difflib.get_close_matches(str(name), schema["properties"], n=1)
            hint = f"did you mean {guess[0]}? " if guess else ""
            yield _join(key, name), f"unknown key; {hint}allowed: {', '.join(schema['properties'])}"
    elif error.validator == "uniqueItems":
        twice = next(item for item in value if value.count(item) > 1)
        yield key, f"found {_show(value)}, with {_show(twice)} more than once; allowed: each item once"
    else:
        yield key, f"found {_show(value)}; allowed: {_allowed(schema)}{_yaml_hint(value, schema)}"


def _overlap(key: str, other: str) -> bool:
    """Whether two dotted paths are one, or one lies inside the other."""
    inner, outer = sorted((key, other), key=len, reverse=True)
    return not outer or (inner.startswith(outer) and inner[len(outer) : len(outer) + 1] in ("", ".", "["))


def _dotted(path: Sequence[str | int]) -> str:
    key = ""
    for part in path:
        key = f"{key}[{part}]" if isinstance(part, int) else _join(key, part)
    return key


def _join(key: str, name: Any) -> str:
    return f"{key}.{name}" if key else str(name)


def _show(value: Any) -> str:
    short = reprlib.Repr()
    short.maxlist = short.maxdict = 25
    short.maxlevel = 2  # what refers to itself, or to the same list again and again, must not be written out
    short.maxstring = short.maxother = 120
    text = "null" if value is None else short.repr(value)
    return f"{text} (text)" if isinstance(value, str) else text


def _allowed(schema: Mapping[str, Any]) -> str:
    """What a part of the schema lets through, in words, with its description."""
    if "enum" in schema:
        kind = f"one of {', '.join(map(str, schema['enum']))}"
    else:
        types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        kind = " or ".join(TYPE_NAMES[name] for name in types)
    bounds = {
        "minimum": "at least {}",
        "exclusiveMinimum": "above {}",
        "maximum": "at most {}",
        "exclusiveMaximum": "below {}",
        "minLength": "at least {} characters",
        "maxLength": "at most {} characters",
        "minItems": "{} or more items",
        "maxItems": "{} or fewer items",
    }
    limits = [text.format(schema[name]) for name, text in bounds.items() if name in schema]
    return f"{', '.join([kind, *limits])} [{schema['description']}]"


def _yaml_hint(value: Any, schema: Mapping[str, Any]) -> str:
    """Help for values that YAML, or the command line, read as something else than they look like."""
    types = schema.get("type", [])
    if "integer" in types and isinstance(value, float) and value.is_integer():
        return f". Write {int(value)}"
    if ("number" in types or "integer" in types) and isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            return ""
        scientific = re.fullmatch(r"\s*([-+]?)(\d*)\.?(\d*)[eE]([-+]?)(\d+)\s*", value)
        if scientific and "number" in types:
            sign, whole, decimals, exponent_sign, exponent = scientific.groups()
            plain = f"{sign}{whole or 0}.{decimals or 0}e{exponent_sign or '+'}{exponent}"
            return f". YAML takes a number in e-notation for text unless it has a dot and a sign: write {plain}"
        if math.isfinite(number):
            plain = int(number) if number.is_integer() else value.strip()
            return f". This is a number written as text: write {plain} without quotes, in a file for --configfile"
    if "string" in types and not isinstance(value, str | Mapping | list) and value is not None:
        return ". YAML does not read this as text: put it in quotes"
    return ""


def _ascending(values: Sequence[float]) -> bool:
    return all(earlier < later for earlier, later in pairwise(values))


def _check_dataset(config: Mapping[str, Any]) -> Iterator[Problem]:
    source = config["dataset"]["source"]
    takes = {"folder": source == "folder", "data_dir": source in COLLECTIONS}
    foreign = [key for key, taken in takes.items() if not taken and config["dataset"][key] is not None]
    for key in foreign:
        yield f"dataset.{key}", config["dataset"][key], f"null, because dataset.source is {source}"
    if source == "folder" and config["dataset"]["folder"] is None:
        yield "dataset.folder", None, "the path of a folder, because dataset.source is folder"
    elif not foreign:
        key = "folder" if source == "folder" else "data_dir"
        allowed = (
            "a tree of images" if source == "folder" else f"null, to download, or a folder with the files of {source}"
        )
        try:
            image_files(config["dataset"])
        except ValueError as error:
            yield f"dataset.{key}", config["dataset"][key], f"{allowed}. {error}"


def _check_front_end(config: Mapping[str, Any]) -> Iterator[Problem]:
    network, shape = config["network"], SOURCES[config["dataset"]["source"]].shape
    if network["front_end"] != "convnet" or shape is None:
        return
    filters, most = network["convnet"]["filters"], min(shape[:2]).bit_length() - 1
    if len(filters) > most:
        yield (
            "network.convnet.filters",
            filters,
            f"{most} convolutions or fewer, because each halves height and width of the images, "
            f"{shape[0]} x {shape[1]} pixels",
        )


def _check_task(config: Mapping[str, Any]) -> Iterator[Problem]:
    steps, delay = config["task"]["steps"], config["task"]["min_delay"]
    if delay >= steps:
        yield "task.min_delay", delay, f"below task.steps, {steps}"


def _check_shared_frames(config: Mapping[str, Any]) -> Iterator[Problem]:
    frames, steps = config["engine"]["shared_frames"], longest_trial(config)
    most = config["task"]["steps"] * min(config[section]["batch"] for section in ("train", "regularise"))
    if frames is not None and not steps <= frames <= most:
        yield (
            "engine.shared_frames",
            frames,
            f"null, or from the steps of the longest trial, {steps}, so that no trial meets a frame twice, to {most}, "
            "the frames of all trials of the smaller batch",
        )


def _check_learning_rate_drop(config: Mapping[str, Any]) -> Iterator[Problem]:
    drop = config["train"]["learning_rate_drop"]
    if drop["start"] > drop["out_of"]:
        yield "train.learning_rate_drop.start", drop["start"], f"at most its out_of, {drop['out_of']}"


def _check_checkpoints(config: Mapping[str, Any]) -> Iterator[Problem]:
    shares = config["train"]["checkpoints"]
    if not _ascending(shares) or shares[0] != 0 or shares[-1] != 1:
        yield "train.checkpoints", shares, "shares in strictly ascending order, the first 0 and the last 1"
    else:
        yield from _same_step("train.checkpoints", shares, 1, config["train"]["steps"])


def _check_protocols(config: Mapping[str, Any]) -> Iterator[Problem]:
    for name, settings in config["protocol_settings"].items():
        key = f"protocol_settings.{name}"
        values, starts, out_of = settings["values"], settings["starts"], settings["out_of"]
        if not _ascending(values):
            yield f"{key}.values", values, "values in strictly ascending order"
        if len(starts) != len(values):
            yield f"{key}.starts", starts, f"one start for each of the {len(values)} values"
        if not starts:
            continue
        if not _ascending(starts) or starts[0] != 0:
            yield f"{key}.starts", starts, "starts in strictly ascending order, the first 0"
        elif starts[-1] >= out_of:
            yield f"{key}.starts", starts, f"starts below out_of, {out_of}"


def _check_boundaries(config: Mapping[str, Any]) -> Iterator[Problem]:
    steps = config["train"]["steps"]
    for name in config["protocols"]:
        settings, key = config["protocol_settings"][name], f"protocol_settings.{name}.starts"
        starts, out_of = settings["starts"], settings["out_of"]
        if not starts or not _ascending(starts) or starts[-1] >= out_of:
            continue  # told by _check_protocols
        yield from _same_step(key, starts, out_of, steps)
        if step_of(starts[-1], out_of, steps) >= steps:
            yield key, starts, f"starts before the end; {starts[-1]} of {out_of} falls on train.steps, {steps}"


def _same_step(key: str, shares: Sequence[float], out_of: float, steps: int) -> Iterator[Problem]:
    for earlier, later in pairwise(shares):
        step = step_of(earlier, out_of, steps)
        if step == step_of(later, out_of, steps):
            fault = f"of train.steps, {steps}, the shares {earlier} and {later} of {out_of} both fall on step {step}"
            yield key, shares, f"shares that fall on different steps; {fault}"


def _check_vocabulary(config: Mapping[str, Any]) -> Iterator[Problem]:
    try:
        classes = len(class_names(config["dataset"]))
    except (ValueError, TypeError):
        return  # told by _check_dataset
    values = config["protocol_settings"]["vocu"]["values"]
    if "vocu" in config["protocols"] and (values[-1] != classes or max(values) > classes):
        yield (
            "protocol_settings.vocu.values",
            values,
            f"numbers of classes from 2 to {classes}, the number of classes of the data set, which must be the last",
        )


def _check_delay(config: Mapping[str, Any]) -> Iterator[Problem]:
    values, task = config["protocol_settings"]["decu"]["values"], config["task"]
    if "decu" not in config["protocols"]:
        return
    if min(values) <= task["min_delay"]:
        yield "protocol_settings.decu.values", values, f"time steps above task.min_delay, {task['min_delay']}"
    if values[-1] != task["steps"] or max(values) > task["steps"]:
        yield (
            "protocol_settings.decu.values",
            values,
            f"time steps up to task.steps, {task['steps']}, which must be the last: "
            "no delay in training is longer than the trial",
        )


def _check_response(config: Mapping[str, Any]) -> Iterator[Problem]:
    values = config["protocol_settings"]["recu"]["values"]
    if values[-1] != 1:
        yield "protocol_settings.recu.values", values, "weights of which the last is 1, the full task"


def _check_other_protocols(config: Mapping[str, Any]) -> Iterator[Problem]:
    """Protocols that nothing more is known of: training makes their schedule, and so does this."""
    try:
        full = Lesson(len(class_names(config["dataset"])), config["task"]["steps"])
    except (ValueError, TypeError):
        return  # told by _check_dataset
    for name in config["protocols"]:
        settings = config["protocol_settings"][name]
        if name not in ("vocu", "decu", "recu", "nacu"):
            try:
                schedule(name, settings, config["train"]["steps"], full)
            except ValueError as error:
                yield f"protocol_settings.{name}", settings, f"values and starts that make a schedule: {error}"


def _check_extrapolate(config: Mapping[str, Any]) -> Iterator[Problem]:
    delays, steps = config["extrapolate"]["delays"], config["task"]["steps"]
    if not _ascending(delays):
        yield "extrapolate.delays", delays, "delays in strictly ascending order"
    if steps not in delays:
        yield (
            "extrapolate.delays",
            delays,
            f"delays with task.steps, {steps}, among them, where memories of training end",
        )
    if max(delays) <= steps:
        yield "extrapolate.delays", delays, f"delays with at least one above task.steps, {steps}, for extrapolation"


def _check_ascending(key: str, what: str, config: Mapping[str, Any]) -> Iterator[Problem]:
    section, name = key.split(".")
    if not _ascending(config[section][name]):
        yield key, config[section][name], f"{what} in strictly ascending order"


def _check_chosen_protocols(config: Mapping[str, Any]) -> Iterator[Problem]:
    trained = ", ".join(config["protocols"])
    for section in ("other_starts", "backtrack", "regularise"):
        for name in config[section]["protocols"]:
            if name not in config["protocols"]:
                key = f"{section}.protocols"
                yield key, name, f"protocols that are trained, {trained}; add it there or remove it here"


def _check_modes(config: Mapping[str, Any]) -> Iterator[Problem]:
    modes, known = config["regularise"]["modes"], config["mode_settings"]
    others = [name for name in known if name != "control"]
    for name in modes:
        if name not in known:
            yield "regularise.modes", name, f"keys of mode_settings, {', '.join(known)}; add it there or remove it here"
    if config["regularise"]["protocols"] and ("control" not in modes or len(modes) < 2):
        yield (
            "regularise.modes",
            modes,
            f"control, which the claims compare with, and at least one of {', '.join(others)} "
            "(for no regularisation, make regularise.protocols an empty list)",
        )
    for name, settings in known.items():
        steps, delay = settings.get("trial_steps"), config["task"]["min_delay"]
        if steps is not None and steps <= delay:
            yield f"mode_settings.{name}.trial_steps", steps, f"above task.min_delay, {delay}"
        if settings.get("at") == "before_image" and config["task"]["steps"] < delay + 2:
            yield (
                f"mode_settings.{name}.at",
                "before_image",
                f"another place, or task.steps of at least {delay + 2}, so that a trial has steps before its image",
            )
    if known.get("control", {}) != {}:
        yield "mode_settings.control", known["control"], "{}, as control is what training on alone does"
    if "trained" in known:
        yield (
            "mode_settings.trained",
            known["trained"],
            "another name, as tables call networks so before they are trained on",
        )


# keys that hold a budget of the search whose points a later stage takes
BUDGETS = (
    ("backtrack", "start_steps"),
    ("spectrum", "search_steps"),
    ("regularise", "search_steps"),
    ("claims", "search_steps"),
)


def _check_budgets(config: Mapping[str, Any]) -> Iterator[Problem]:
    budgets = config["slow_points"]["search_steps"]
    for section, key in BUDGETS:
        budget = config[section][key]
        if budget not in budgets:
            yield f"{section}.{key}", budget, f"one of slow_points.search_steps, {_show(budgets)}"


# each check, and the keys that it reads
CHECKS: dict[Callable[[Mapping[str, Any]], Iterator[Problem]], tuple[str, ...]] = {
    _check_dataset: ("dataset",),
    _check_front_end: ("dataset.source", "network"),
    _check_task: ("task",),
    _check_shared_frames: (
        *("engine.shared_frames", "task.steps", "train.batch", "regularise.batch"),
        *("regularise.modes", "mode_settings"),
    ),
    _check_learning_rate_drop: ("train.learning_rate_drop",),
    _check_checkpoints: ("train.checkpoints", "train.steps"),
    _check_protocols: ("protocol_settings",),
    _check_boundaries: ("protocols", "protocol_settings", "train.steps"),
    _check_vocabulary: ("protocols", "protocol_settings.vocu.values", "dataset"),
    _check_delay: ("protocols", "protocol_settings.decu.values", "task"),
    _check_response: ("protocol_settings.recu.values",),
    _check_other_protocols: ("protocols", "protocol_settings", "dataset", "task", "train.steps"),
    _check_extrapolate: ("extrapolate.delays", "task.steps"),
    partial(_check_ascending, "slow_points.search_steps", "search budgets"): ("slow_points.search_steps",),
    partial(_check_ascending, "spectrum.relaxed_times", "times"): ("spectrum.relaxed_times",),
    _check_chosen_protocols: ("other_starts.protocols", "backtrack.protocols", "regularise.protocols", "protocols"),
    _check_modes: ("regularise.protocols", "regularise.modes", "mode_settings", "task"),
    _check_budgets: (*map(".".join, BUDGETS), "slow_points.search_steps"),
}
