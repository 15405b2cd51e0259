"""The reference page of a study's configuration, from `StudyConfig` and the presets."""

from __future__ import annotations

from typing import Any

from interp_culture.study.config import PRESETS, StudyConfig

INTRODUCTION = """# Configuration of a study

Any field may be in the YAML file of `interp-culture study FILE` or an argument of `ic.StudyConfig`.
A preset comes first, the file goes over it, and options of the command line go over both. A dash in
a column of a preset means the default. `null` in YAML means all.

```yaml
model: Qwen/Qwen3-4B-Instruct-2507
dtype: bfloat16
alphas: [0.2, 0.4]
layers: {X: [16, 17, 18, 19], Y: [16, 17, 18, 19]}
```
"""
# For the fields whose name says it all in the code.
MEANINGS = {
    "device": "cpu, cuda or mps; the fastest by default",
    "dtype": "float32, bfloat16, float16 or fastest; bfloat16 on cuda by default, else float32",
    "order": "both orders of the options, or `random` as in the paper",
    "seed": "of the split, the samples and the random vectors",
}


def configuration_page() -> str:
    """The page as Markdown: a row for each field, a column for each preset with changes."""
    presets = {name: values for name, values in PRESETS.items() if values}
    head = ["field", "default", *presets, "meaning"]
    lines = [table_row(head), table_row(["---"] * len(head))]
    for name, field in StudyConfig.model_fields.items():
        changed = [shown(values[name]) if name in values else "–" for values in presets.values()]
        meaning = field.description or MEANINGS.get(name, "")
        lines.append(table_row([f"`{name}`", shown(field.default), *changed, meaning]))
    return "\n".join([INTRODUCTION, *lines, ""])


def shown(value: Any) -> str:
    """A value as YAML has it."""
    words = {None: "`null`", True: "`true`", False: "`false`"}
    if value is None or isinstance(value, bool):
        return words[value]
    return f"`{value}`".replace("'", "")


def table_row(cells: list[str]) -> str:
    """One row of a Markdown table."""
    return f"| {' | '.join(cells)} |"
