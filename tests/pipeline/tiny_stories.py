"""A recipe for a tiny Llama that has learned simple sentences, with everything small."""

from __future__ import annotations

from pathlib import Path

from tiny_language import byte_tokenizer, save_language_model, stories, tiny_llama

RECIPE = """
name: tiny-stories
task: causal-lm
teacher:
  model: {teacher}
  fine_tune: {{epochs: 6, learning_rate: 1.0e-2, batch_size: 16}}
data: {{source: {data}, max_length: 32}}
space: {{layers: [1], hidden: [16, 32], ffn_ratio: [1.0, 2.0], min_share: 0.0}}
device: generic-x86-64
sla: {{latency: {{p50: 200 ms}}, size: 4 MB, perplexity_rise: 100 %, perplexity: 100}}
search: {{calibrate: 3, finalists: 1, pairs: 5}}
distill: {{epochs: 3, learning_rate: 1.0e-2, batch_size: 16, top_k: 16}}
bench: {{processes: 3, duration: 100 ms, warmup: 50 ms, samples: 20}}
budget: {{attempts: 1}}
"""


def write_recipe(folder: Path, *, vocabulary: int | None = None) -> str:
    """Documents, an untrained teacher and the recipe in `folder`; the path of the recipe."""
    texts = stories(36)
    for part, some in (("train", texts[:30]), ("validation", texts[30:33]), ("test", texts[33:])):
        place = folder / "data" / part
        place.mkdir(parents=True)
        for number, text in enumerate(some):
            (place / f"{number}.txt").write_text(text, encoding="utf-8")
    tokenizer = byte_tokenizer(texts[:30])
    save_language_model(folder / "llama", tiny_llama(vocabulary or len(tokenizer)), tokenizer)
    path = folder / "recipe.yaml"
    path.write_text(RECIPE.format(teacher=folder / "llama", data=folder / "data"), encoding="utf-8")
    return str(path)
