"""What the rules look at: one run, whatever made it. Each part is worked out when asked for.

A part that is not there raises Undecided, and the rule that asked says «not examined»."""

from collections.abc import Mapping
from functools import cached_property

from lora_course.preflight import adapted, labelled, sampled
from lora_course.preflight.added import added_names
from lora_course.preflight.probe import FEW, few_rows, take_step
from lora_course.preflight.report import Undecided


class Run:
    """A run. See check_run for what it is made from."""

    def __init__(
        self, model, tokenizer, batch, optimizer, trainer, train_rows, test_rows, training
    ):
        self.wrapped, self.trainer, self.given = model, trainer, batch
        self.model = adapted.inner(model)
        self.modes = {name: module.training for name, module in self.model.named_modules()}
        self.args = getattr(trainer, "args", None)
        self.tokenizer = tokenizer or sampled.trainer_tokenizer(trainer)
        self.train_rows = (
            train_rows if train_rows is not None else getattr(trainer, "train_dataset", None)
        )
        self.test_rows = (
            test_rows if test_rows is not None else getattr(trainer, "eval_dataset", None)
        )
        given = optimizer if optimizer is not None else sampled.trainer_optimizer(trainer)
        given = list(given) if isinstance(given, list | tuple) else [given]
        self.optimizers = [getattr(o, "optimizer", o) for o in given if o is not None]
        evaluates = trainer is not None and self.train_rows is None
        self.training = training and not evaluates

    def must_train(self):
        """Raises Undecided for a run that only evaluates."""
        if not self.training:
            raise Undecided("this run only evaluates")

    @cached_property
    def params(self):
        """{name: parameter}, tied ones once."""
        return dict(self.model.named_parameters())

    @cached_property
    def trained(self):
        """Names of what requires a gradient. Undecided in a run that only evaluates."""
        self.must_train()
        return [name for name, p in self.params.items() if p.requires_grad]

    @cached_property
    def added(self):
        """Names of the parameters that an adapter added."""
        return added_names(self.model)

    @cached_property
    def pairs(self):
        """The two factors of each adapted layer. Undecided where there are none."""
        if not self.pairs_or_none:
            raise Undecided("there are no LoRA layers")
        return self.pairs_or_none

    @cached_property
    def pairs_or_none(self):
        """The pairs, or an empty list."""
        return adapted.find_pairs(self.model, self.added)

    @property
    def active(self):
        """The pairs of which a factor trains, and all of them where none does."""
        training = [p for p in self.pairs if p.first.requires_grad or p.second.requires_grad]
        return training or self.pairs

    @property
    def configs(self):
        """The PEFT configs, also of a PeftModel inside of a model of one's own."""
        for module in self.model.modules():
            if isinstance(configs := getattr(module, "peft_config", None), dict):
                return list(configs.values())
        raise Undecided("there is no PEFT config")

    @cached_property
    def base(self):
        """The transformers model inside. Undecided for a model of another kind."""
        found = adapted.pretrained(self.model)
        if found is None:
            raise Undecided("the model is none of transformers")
        return found

    @cached_property
    def table(self):
        """The module of the token vectors."""
        found = getattr(self.base, "get_input_embeddings", lambda: None)()
        if found is None or getattr(found, "weight", None) is None:
            raise Undecided("the model has no table of token vectors")
        return found

    @cached_property
    def batch(self):
        """The batch, a dict of tensors."""
        batch = self.given
        if batch is None and self.trainer is not None:
            batch = sampled.trainer_batch(self.trainer)
        elif hasattr(batch, "dataset") and hasattr(batch, "collate_fn"):
            batch = sampled.loader_batch(batch)
        if not isinstance(batch, Mapping):
            kind = "nothing" if batch is None else f"a {type(batch).__name__}"
            raise Undecided(f"no batch: {kind} was given where a dict of tensors is needed")
        return dict(batch)

    @cached_property
    def few(self):
        """A batch of few rows, which a step is made on."""
        if self.given is None and self.trainer is not None:
            return sampled.trainer_batch(self.trainer, FEW)
        return few_rows(self.batch, FEW)

    @cached_property
    def rows(self):
        """The batch as LabelledRows. Undecided where it has no tokens or no labels."""
        if self.encodes:
            raise Undecided("the model has an encoder: its labels are not what it reads")
        return labelled.rows_of(self.batch)

    @cached_property
    def shift(self):
        """By how many places the labels lie before the tokens that they name: 0, unless by hand."""
        return labelled.shift_of(self.batch["input_ids"], self.batch["labels"])

    @property
    def encodes(self):
        """True for a model with an encoder: its labels are not the tokens that it reads."""
        config = getattr(adapted.pretrained(self.model), "config", None)
        return bool(getattr(config, "is_encoder_decoder", False))

    @cached_property
    def step(self):
        """What one forward and backward pass shows; see probe.Step."""
        self.must_train()
        return take_step(self.model, self.few, self.trainer)

    @cached_property
    def steps_done(self):
        """How many optimizer steps were made, as far as the optimizers and the trainer know."""
        counts = [getattr(getattr(self.trainer, "state", None), "global_step", 0) or 0]
        for optimizer in self.optimizers:
            counts += [int(s["step"]) for s in optimizer.state.values() if "step" in s]
        return max(counts)
