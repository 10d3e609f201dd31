"""PreferenceTraining: the training as an optimizer of DSPy's, alone or as the weights' step of ``dspy.BetterTogether``."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dspy.teleprompt import Teleprompter

from conscience._base.files import digest
from conscience.backends.backend import Backend
from conscience.backends.roles import Roles
from conscience.cases.case import Case
from conscience.optimizers.data.dspy_examples import cases_of
from conscience.optimizers.runtime import THREADS, Runtime, Watch, check_student
from conscience.optimizers.training.pairs import PreferencePair
from conscience.optimizers.training.rounds.data import TrainingData, training_data
from conscience.optimizers.training.rounds.training import TrainingResult, journal_of, train
from conscience.optimizers.training.weights import extra
from conscience.optimizers.training.weights.base import Base
from conscience.optimizers.training.weights.settings import TrainingSettings
from conscience.program import Conscience
from conscience.usage import Budget, Role


class PreferenceTraining(Teleprompter):  # type: ignore[misc]
    """A DSPy optimizer of weights: trains the model that generates on what the program's conscience prefers.

    The program that comes back generates by the trained model, and reviews by the model that reviewed before: a frozen copy.
    Its prompts, demos and gate are left as they are, so a prompt optimizer may come before it and after it:

        dspy.BetterTogether(metric=metric(), p=SelfCorrection(), w=PreferenceTraining("trained"))
            .compile(program, trainset=examples, strategy="p -> w -> p")

    What came of it hangs on the program, as ``trained.training_result`` (a ``TrainingResult``).

    Args:
        folder: for the results, each in a folder of its own by what it was trained on; the same call goes on there.
        settings: see ``TrainingSettings``.
        held_out_share: of the pairs, to measure on, where no valset is given.
        budget: the most that may be spent on answers.
        threads: cases under way at once.
        watch: is told the progress of what is answered.

    Raises:
        ConfigurationError: the extra ``train`` is not installed.
    """

    def __init__(
        self,
        folder: Path | str,
        *,
        settings: TrainingSettings | None = None,
        held_out_share: float = 0.2,
        budget: Budget | None = None,
        threads: int = THREADS,
        watch: Watch | None = None,
    ) -> None:
        super().__init__()
        extra.check_installed()
        self.folder, self.settings, self.held_out_share = Path(folder), settings or TrainingSettings(), held_out_share
        self.budget, self.threads, self.watch = budget, threads, watch

    def compile(
        self,
        student: Conscience,
        *,
        trainset: Sequence[Any],
        teacher: Any = None,
        valset: Sequence[Any] | None = None,
    ) -> Conscience:
        """The program with trained weights; the student is left as it is.

        Args:
            student: a program whose model for generate is on this machine.
            trainset: preference pairs, cases, or examples, see ``conscience.optimizers.examples_of``. Labelled responses
                make pairs; requests are answered and judged in the rounds.
            teacher: not used; there so that DSPy's own combinations of optimizers can pass one.
            valset: what is measured and not trained on; by default a part of the pairs.

        Raises:
            ConfigurationError, InputError, BackendError: see ``train``.
        """
        check_student(student)
        generates = student.roles.backend("generate")
        base = Base.named(generates.name)
        data = self._data(student, trainset, valset)
        identity = digest([base.name, data.digest(), self.settings.identity(), student.review.gate_settings.model_dump()])
        folder = self.folder / identity
        runtime = Runtime(journal_of(folder), self.budget, threads=self.threads, watch=self.watch)
        result: TrainingResult = train(
            base, data, folder, program=lambda name: student, settings=self.settings, runtime=runtime
        )
        trained = copy.deepcopy(student)
        trained.set_lm(_roles(student, generates, result.model))
        trained.training_result = result
        trained._compiled = True
        return trained

    def _data(self, student: Conscience, trainset: Sequence[Any], valset: Sequence[Any] | None) -> TrainingData:
        pairs, cases = _told_apart(trainset, student)
        held_pairs, held_cases = _told_apart(valset or (), student)
        # Without a counterpart for each response a valset of labels holds out nothing; then a part of the pairs is.
        return training_data(pairs, cases, [*held_pairs, *held_cases], share=self.held_out_share, seed=self.settings.seed)


def _told_apart(rows: Sequence[Any], student: Conscience) -> tuple[list[PreferencePair], list[Case]]:
    pairs = [row for row in rows if isinstance(row, PreferencePair)]
    return pairs, cases_of([row for row in rows if not isinstance(row, PreferencePair)], student)


def _roles(student: Conscience, generates: Backend, model: str) -> Roles:
    """The student's models, with the trained one where it generated; what reviewed goes on reviewing."""
    trained = Backend(model, timeout=generates.timeout, retries=generates.retries, **generates.sampling)
    roles = {"generate": trained, "review": student.roles.backend("review")}
    others: tuple[Role, ...] = ("revise", "propose")
    for role in others:
        if (own := student.roles.backend(role)) is not generates:
            roles[role] = own
    return Roles(roles)
