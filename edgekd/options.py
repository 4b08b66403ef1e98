"""Arguments and options of the command line whose help takes a line of its own, or that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Option, Argument = typer.Option, typer.Argument

RecipeName = Annotated[str, Argument(metavar="RECIPE", help="A recipe file, or the name of one that ships with edgekd.")]  # fmt: skip
Overrides = Annotated[list[str] | None, Option("--set", metavar="KEY=VALUE", help="Override a key of the recipe, such as --set sla.latency.p95='5 ms'. May be repeated.")]  # fmt: skip
Out = Annotated[Path | None, Option("--out", help="The run folder; runs/NAME by default.")]
Again = Annotated[list[str] | None, Option("--again", metavar="STEP", help="Run this step although nothing has changed, such as bench after a noisy verdict. May be repeated.")]  # fmt: skip
DryRun = Annotated[bool, Option("--dry-run", help="Print the resolved recipe, the plan and what is found in the data, and do nothing.")]  # fmt: skip

Explain = Annotated[str | None, Option(metavar="[STUDENT]", help="Measure nothing; show where the time and memory of a student go, and what one step would buy. Of the chosen student by default. Stands after RECIPE.")]  # fmt: skip
Compare = Annotated[str | None, Option(metavar="A,B,C", help="Measure nothing; show students side by side: names of the space, small, medium, large, chosen, teacher.")]  # fmt: skip


HostsFile = Annotated[Path | None, Option("--hosts", metavar="FILE", help="Another hosts.yaml than $EDGEKD_HOSTS or ~/.config/edgekd/hosts.yaml.")]  # fmt: skip
Shapes = Annotated[list[str] | None, Option("--shape", metavar="INPUT=1x64", help="The shape of an input. May be repeated.")]  # fmt: skip
Lengths = Annotated[list[int] | None, Option("--sequence", min=1, help="A length of texts; of decode, tokens in the cache. May be repeated.")]  # fmt: skip
Precisions = Annotated[list[str] | None, Option("--precision", help="fp32, fp16, int8, int4, fp32-fused or int8-fused; fp32 and int8 by default. May be repeated.")]  # fmt: skip
Like = Annotated[str, Option(help="Whose students: a recipe, or one of bert, roberta, vit, gpt2, llama, mobilenet_v2, efficientnet.")]  # fmt: skip
Phase = Annotated[str, Option(help="Of gpt2 or llama as a language model: prefill or decode. Else whole, a classifier.")]  # fmt: skip
Kind = Annotated[str, Option(help="The profile of that kind of board: a name from edgekd devices list, or a file.")]
Boards = Annotated[str, Option("--host", help="local, ssh://USER@HOST:PORT, adb:SERIAL, a name or group of hosts.yaml; several with commas.")]  # fmt: skip
GitHub = Annotated[bool, Option("--github", help="Print workflow annotations, and append to the file in $GITHUB_STEP_SUMMARY.")]  # fmt: skip
Board = Annotated[str, Argument(metavar="HOST", help="local, ssh://USER@HOST:PORT, adb:SERIAL, or a name of hosts.yaml.")]  # fmt: skip
