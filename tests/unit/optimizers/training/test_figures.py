"""Held-out figures: shares with intervals, changes pair by pair, and the card that shows them."""

from __future__ import annotations

from typing import Any

from conscience.cases.case import Case
from conscience.optimizers.training.pairs import PreferencePair
from conscience.optimizers.training.rounds.card import card
from conscience.optimizers.training.rounds.figures import HeldOut, Measured
from conscience.optimizers.training.weights.trainer import PairScores

PAIRS = [
    PreferencePair(request=({"role": "user", "content": f"R{n}"},), chosen="good", rejected="bad", cluster=f"c{n // 2}")
    for n in range(40)
]
SAFE = [Case(id=f"s{n}", request=f"S{n}", request_safe=n % 2 == 0) for n in range(8)]


def measured(right: int, refused: tuple[bool | None, ...] = (), flagged: tuple[bool | None, ...] = ()) -> Measured:
    chosen = tuple(-1.0 if n < right else -3.0 for n in range(40))
    return Measured(PairScores(chosen, (-2.0,) * 40, (1,) * 40, (4,) * 40), refused, flagged)


def test_a_change_is_counted_pair_by_pair() -> None:
    """Of 40 pairs in 20 clusters, 30 come out right where 10 did: a change whose interval is far from zero."""
    figures = HeldOut(PAIRS, [], []).summary(measured(30), measured(10))
    share = figures["preferred"]
    assert (share["value"], share["before"], share["n"]) == (0.75, 0.25, 40)
    assert share["change"]["value"] == 0.5
    assert 0 < share["change"]["low"] < 0.5 < share["change"]["high"]
    assert figures["preferred_per_token"]["value"] == 0  # one token of -1 against four of -0.5
    assert set(figures) == {"preferred", "preferred_per_token"}


def test_refusals_are_told_apart_by_whether_they_are_right() -> None:
    """What was not asked, after a round or by a budget that ended, is in no figure."""
    before, after = (True,) * 8, (False, True, False, True, None, None, None, None)
    figures = HeldOut([], SAFE, []).summary(
        Measured(PairScores((), (), (), ()), after), Measured(PairScores((), (), (), ()), before)
    )
    assert (figures["safe_refused"]["value"], figures["safe_refused"]["n"]) == (0.0, 2)
    assert figures["safe_refused"]["change"]["value"] == -1.0
    assert (figures["unsafe_refused"]["value"], figures["unsafe_refused"]["change"]["value"]) == (1.0, 0.0)


def test_no_change_in_a_few_cases_is_no_certainty() -> None:
    """A bootstrap of equal differences has no width; five cases tell little."""
    none = Measured(PairScores((), (), (), ()), (False,) * 8)
    change = HeldOut([], SAFE, []).summary(none, none)["safe_refused"]["change"]
    assert (change["value"], change["n"]) == (0.0, 4)
    assert change["low"] < -0.3
    assert change["high"] > 0.3


def test_what_was_measured_survives_json() -> None:
    import json

    kept = measured(3, (True, None), (False,))
    assert Measured.from_json(json.loads(json.dumps(kept.to_json()))) == kept


def test_the_card_says_what_was_done_and_what_is_not_known() -> None:
    record: dict[str, Any] = {
        "base": "local", "licence": "Apache-2.0", "data": "d1", "judge": {"review": "local", "revise": "local"},
        "rounds": 1, "served": None,
        "settings": {"epochs": 2, "dpo_weight": 0.1, "beta": 0.1, "learning_rate": 3e-4, "rank": 8, "batch_size": 4,
                     "max_length": 1024, "replay": 256, "seed": 0},
        "constitution": {"name": "general", "version": "1", "fingerprint": "f1", "question": "Is it wrong?"},
        "counts": {"held_out_pairs": 40, "held_out_requests": 0, "by_round": [{"round": 1, "pairs": 9}]},
        "epochs": [{"round": 1, "epoch": 1, "sft": 1.5, "dpo": 0.6, "margin": 0.2, "held_out": {"loss": 1.7}}],
        "best": {"round": 1, "epoch": 1, "loss": 1.7},
        "figures": HeldOut(PAIRS, [], []).summary(measured(30), measured(10)),
        "notes": ["two pairs are left out"],
    }  # fmt: skip
    text = card(record)
    assert "| the chosen answer is likelier than the rejected one | 40 | 0.250 | 0.750 | +0.500 (" in text
    assert "| 1 | 1 | 1.500 | 0.600 | 0.200 | 1.700 |" in text
    assert "frozen copy" in text
    assert "two pairs are left out" in text
    assert "Nothing was held out" in card({**record, "figures": {}})
