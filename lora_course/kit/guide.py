"""The guide: which method for which wish, as a table that reads without a kernel.

Every line points to the section of the course that shows it, or to a source.
"""

from typing import NamedTuple


class Tip(NamedTuple):
    """One line of the guide. link: (words, target), a heading of a chapter or an address."""

    about: str
    case: str
    take: str
    link: tuple[str, str]


CH06 = "06_rank_alpha_learning_rate_target_modules.ipynb"
CH13 = "13_beside_before_and_around.ipynb"
CH14 = "14_descendants_and_how_to_choose.ipynb"
CH15 = "15_learns_less_forgets_less.ipynb"
GUIDE = (
    Tip("to begin with", "nothing is known", "LoRA, all linear layers, r = 16, three rates",
         ("chapter 14, section 8", f"{CH14}#8-A-fair-race")),
    Tip("memory", "the base in 16 bits fits", "LoRA",
         ("chapter 01, section 9", "01_what_full_fine_tuning_costs.ipynb#9-LoRA-at-full-size")),
    Tip("memory", "it does not", "QLoRA: the base in NF4",
         ("chapter 11, section 1", "11_qlora_on_a_single_gpu.ipynb#1-The-budget")),
    Tip("memory", "activations are what does not fit", "checkpointing; no method helps much",
         ("chapter 11, section 7", "11_qlora_on_a_single_gpu.ipynb#7-Checkpointing")),
    Tip("4-bit base", "the update ends in a 16-bit model", "merge into the dequantized base",
         ("chapter 12, section 3",
          "12_merging_and_shipping.ipynb#3-An-adapter-that-was-trained-on-4-bits")),
    Tip("4-bit base", "quantization costs too much", "start as PiSSA or LoftQ, and measure",
         ("chapter 14, section 4", f"{CH14}#4-Under-4-bits")),
    Tip("latency", "not slower than the base", "merge: LoRA and each of its descendants",
         ("chapter 07, section 8", "07_merging_and_swapping.ipynb#8-What-it-costs-to-run")),
    Tip("latency", "a method that cannot be merged", "bottleneck, prompt, prefix: count it in",
         ("chapter 13, section 8", f"{CH13}#8-Time")),
    Tip("storage per task", "some MB", "LoRA with a smaller rank, or fewer layers",
         ("chapter 06, section 1", f"{CH06}#1-What-a-rank-costs")),
    Tip("storage per task", "some kB", "VeRA, IA³, prompt tuning",
         ("chapter 14, section 6", f"{CH14}#6-VeRA")),
    Tip("tasks", "one after the other", "swap LoRA files on one base",
         ("chapter 07, section 4", "07_merging_and_swapping.ipynb#4-One-base,-three-skills")),
    Tip("tasks", "several in one batch", "plain LoRA, not merged",
         ("chapter 08, section 5",
          "08_the_same_thing_in_peft.ipynb#5-One-batch,-several-adapters")),
    Tip("drift from the base", "the base itself must stay at hand", "not PiSSA, no trained bias",
         ("chapter 14, section 3", f"{CH14}#3-PiSSA")),
    Tip("drift from the base", "old skills must stay", "a lower rate, fewer steps, old rows",
         ("chapter 15, section 6", f"{CH15}#6-What-helps-against-forgetting")),
    Tip("data", "a new form, little to know", "any rank does: LoRA with a small one",
         ("chapter 06, section 4", f"{CH06}#4-Rank-and-learning-rate")),
    Tip("data", "much that is new", "a large rank, and full fine-tuning beside it",
         ("Biderman et al. 2024", "https://arxiv.org/abs/2405.09673")),
    Tip("data", "which layers need rank is unknown", "AdaLoRA, or all layers alike",
         ("chapter 14, section 5", f"{CH14}#5-AdaLoRA")),
    Tip("a better score", "LoRA is tuned already", "DoRA and others: within 1 to 2 % of it",
         ("Learning Rate Matters, 2026", "https://arxiv.org/abs/2602.04998")),
)  # fmt: skip


def guide(lines=GUIDE):
    """The table as Markdown."""
    rows = ["| about | when | take | shown in |", "|:--|:--|:--|:--|"]
    for about, case, take, (words, target) in lines:
        rows.append(f"| {about} | {case} | {take} | [{words}]({target}) |")
    return "\n".join(rows)
