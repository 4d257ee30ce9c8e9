"""Verbs and flags of version 0.1, and what they are called now; to be removed in the version after this one."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["translate"]

# Flags of `train` that became settings; with a value where the flag takes none.
_SETTINGS: dict[str, tuple[str, str]] = {
    "--block": ("net.block", ""),
    "--skip": ("net.skip", ""),
    "--widths": ("net.widths", ""),
    "--divide-width": ("net.width_divisor", ""),
    "--encoder": ("net.encoder", ""),
    "--weights": ("net.encoder_weights", ""),
    "--supervise": ("net.deep_supervision", "true"),
    "--patch": ("patches.size", ""),
    "--batch": ("patches.batch", ""),
    "--augment": ("patches.augmentation", ""),
    "--border-weight": ("patches.border_weight", "true"),
    "--rate": ("optim.learning_rate", ""),
    "--precision": ("device.precision", ""),
    "--compile": ("device.compile", ""),
}
_FLAGS = {
    "predict": {"--symmetries": "--tta", "--prune": "--level"},
}
_VERBS = {
    "quantise": ["export", "--format", "int8"],
    "objects": ["measure", "table"],
    "polygons": ["measure", "polygons"],
}


def translate(args: Sequence[str]) -> tuple[list[str], list[str]]:
    """Arguments as they are now, and a line for each that was called otherwise.

    Examples
    --------
    >>> translate(["train", "IMAGES", "--batch", "8", "--supervise"])[0]
    ['train', 'IMAGES', '--set', 'patches.batch=8', '--set', 'net.deep_supervision=true']
    >>> translate(["quantise", "RUN"])
    (['export', '--format', 'int8', 'RUN'], ['unetkit quantise is now unetkit export --format int8'])
    """
    if not args:
        return [], []
    verb, *rest = args
    if verb in _VERBS:
        now = _VERBS[verb]
        return [*now, *rest], [f"unetkit {verb} is now unetkit {' '.join(now)}"]
    if verb == "evaluate" and "--levels" in rest:
        return ["levels", *(arg for arg in rest if arg != "--levels")], ["evaluate --levels RUN is now levels RUN"]
    if verb == "inspect" and _is_drawing(rest):
        return ["draw", *rest], ["inspect --out DRAWING.svg is now draw --out DRAWING.svg"]
    if verb == "train":
        return _train(rest)
    names = _FLAGS.get(verb, {})
    hints = [f"{arg} is now {names[arg]}" for arg in dict.fromkeys(rest) if arg in names]
    return [verb, *(names.get(arg, arg) for arg in rest)], hints


def _is_drawing(args: Sequence[str]) -> bool:
    """Whether --out names something else than a page."""
    pairs = zip(args, [*args[1:], ""], strict=True)
    outs = [value for flag, value in pairs if flag == "--out"]
    outs += [arg.partition("=")[2] for arg in args if arg.startswith("--out=")]
    return any(value and not value.lower().endswith(".html") for value in outs)


def _train(args: Sequence[str]) -> tuple[list[str], list[str]]:
    now, hints, rest = ["train"], [], list(args)
    while rest:
        arg = rest.pop(0)
        flag, sign, value = arg.partition("=")
        if flag not in _SETTINGS:
            now.append(arg)
            continue
        path, fixed = _SETTINGS[flag]
        if fixed:
            value = fixed
        elif not sign:
            if not rest:
                now.append(arg)  # without its value: refused with the flag's name
                continue
            value = rest.pop(0)
        now += ["--set", f"{path}={value}"]
        hints.append(f"{flag} is now --set {path}={value}")
    return now, hints
