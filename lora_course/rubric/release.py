"""The rubric's properties of what is shipped: the adapter's file and the merged folder."""

import re

from lora_course.bridges.peft_adapters import CONFIG, WEIGHTS, read_peft
from lora_course.bridges.shipping import distance
from lora_course.kit.data import encode
from lora_course.kit.models import load_tokenizer


def adapter_only(p):
    """The adapter's file holds the factors of LoRA and nothing else."""
    _, tensors, _ = read_peft(p.folder / "adapter")
    other = [key for key in tensors if not re.search(r"\.lora_(embedding_)?[AB](\.weight)?$", key)]
    weights = {path.name for path in (p.folder / "adapter").iterdir()
               if path.suffix in (".safetensors", ".bin", ".pt", ".pth")}  # fmt: skip
    more = weights - {WEIGHTS}
    said = f"{len(tensors) - len(other)} factors, {len(other)} other tensors"
    return not other and not more and bool(tensors), said + "".join(f", {n}" for n in sorted(more))


def adapter_loads(p):
    """PEFT loads it into the base: every factor finds its place, and B is not zero."""
    from peft import get_peft_model_state_dict

    _, tensors, _ = read_peft(p.folder / "adapter")
    there = get_peft_model_state_dict(p.adapted, save_embedding_layers=False)
    lost = there.keys() ^ tensors.keys()
    zero = not any(t.any() for key, t in tensors.items() if re.search(r"lora_(embedding_)?B", key))
    return not lost and not zero, f"{len(lost)} factors without a place" + ", B is zero" * zero


def base_named(p):
    """Adapter and cards name the base by the same name, which is no folder of one machine."""
    from huggingface_hub import ModelCard

    config, _, _ = read_peft(p.folder / "adapter")
    names = [config.get("base_model_name_or_path"), ModelCard(p.card).data.get("base_model")]
    if (own := p.folder / "adapter/README.md").is_file():
        names.append(ModelCard(own.read_text(encoding="utf-8")).data.get("base_model", names[0]))
    local = any(re.match(r"[/~.\\]|[A-Za-z]:", str(name or "/")) for name in names)
    return len(set(names)) == 1 and not local, "adapter and cards: " + ", ".join(map(str, names))


def merged_is_plain(p):
    """The merged folder holds a model with the base's names and sizes, and no adapter beside it."""
    if (p.folder / "merged" / CONFIG).exists():
        return False, f"{CONFIG} is in it: transformers would apply the adapter twice"
    shapes = [{n: t.shape for n, t in m.state_dict().items()} for m in (p.merged, p.base)]
    odd = {n for n in shapes[0].keys() | shapes[1].keys() if shapes[0].get(n) != shapes[1].get(n)}
    return not odd, f"{len(odd)} tensors of another name or size"


def merged_is_adapter(p):
    """On hidden rows the merged model has the logits of base and adapter."""
    pair = [p.measure(model, "hidden")[2] for model in ("merged", "adapted")]
    off = distance(*pair)
    return off < 1e-3, f"off by {off:.0e} of their size"


def tokenizer_saved(p):
    """The merged folder has the tokenizer and the chat template that the run used."""
    own = load_tokenizer(str(p.folder / "merged"))
    same = all(encode(own, r["prompt"], r["completion"])
               == encode(p.tokenizer, r["prompt"], r["completion"]) for r in p.hidden)  # fmt: skip
    said = "as of the base" if same else "the ids of hidden rows differ from the base's"
    return same, said
