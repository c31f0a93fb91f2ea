"""The comparison with engines outside of the tests: what it runs here, and that it sees what differs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.parity import __main__ as command
from benchmarks.parity import ours
from benchmarks.parity.cases import CASES, Case
from benchmarks.parity.compare import compare
from benchmarks.parity.tape import Tape


@pytest.fixture(scope="module")
def ran() -> dict[str, tuple[Case, Tape, ours.Outcome]]:
    """Every case on our side, by its tape's name."""
    found = {}
    for case in CASES:
        tape = case.make()
        found[tape.case] = case, tape, ours.outcome(tape, ours.run(tape, case.config))
    return found


def test_the_tapes_hold_what_they_are_named_after(ran):
    """As many fills as the page says: through zero and a split, in parts, in fractions, by brackets and trails."""
    fills = {name: len(outcome.fills) for name, (_, _, outcome) in ran.items()}
    assert fills == {
        "reversals": 94, "capped": 87, "rebalanced": 236, "brackets": 149, "trailing": 221, "scattered": 514, "gaps": 514,
        "crowds": 516,
    }  # fmt: skip
    assert sum(size > 0 for _, _, size, _ in ran["capped"][2].fills) == 62
    assert all(len(ran[name][1].orders) == 572 for name in ("scattered", "gaps", "crowds"))
    tape = ran["reversals"][1]
    split = tape.stamps.index(tape.extra["splits"][0][0])
    held = sum(order["size"] for order in tape.orders if order["after"] < split)
    through = [order for order in tape.orders if order["after"] == split]
    assert through, "an order is open through the split"
    assert held + through[0]["size"] < 0, "and so is a short"


def test_a_tape_comes_back_from_its_file(ran, tmp_path):
    """What a peer reads is what we run."""
    for _, tape, _ in ran.values():
        tape.write(tmp_path / "tape.json")
        assert Tape.read(tmp_path / "tape.json") == tape


def test_another_fill_or_cent_is_seen(ran):
    """In price, size, bar or number; with the first that differs, and how far equity is apart."""
    outcome = ran["capped"][2]
    assert compare(outcome, outcome).equal
    stamp, symbol, size, price = outcome.fills[3]
    for other in (
        (stamp, symbol, size, price + 0.01),
        (stamp, symbol, size + 1, price),
        (outcome.fills[9][0], symbol, size, price),
    ):
        verdict = compare(outcome, replace(outcome, fills=[*outcome.fills[:3], other, *outcome.fills[4:]]))
        assert not verdict.equal
        assert stamp in verdict.first
    assert not compare(outcome, replace(outcome, fills=outcome.fills[:-1])).equal
    verdict = compare(outcome, replace(outcome, equity=outcome.equity - 0.02))
    assert (verdict.equal, round(verdict.apart, 2)) == (False, 0.02)


@pytest.fixture
def pretend(monkeypatch, ran):
    """A peer that gives what ours does, or what a test makes of it."""

    def other(change):
        monkeypatch.setattr(command, "peer", lambda case, tape: change(ran[tape.case][2]))

    return other


def test_the_command_ends_with_1_where_no_rule_says_why(pretend, capsys):
    """And with 0 where all is equal; what differs by a rule is told with it."""
    pretend(lambda outcome: outcome)
    assert command.main(["zipline", "bt"]) == 0
    assert "| zipline |" in capsys.readouterr().out
    pretend(lambda outcome: replace(outcome, equity=outcome.equity + 1))
    assert command.main(["bt"]) == 1
    assert "NO RULE SAYS WHY" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        command.main(["ziplime"])
    assert "unknown: ziplime; choose from bt, nautilus, vectorbt, zipline" in capsys.readouterr().err


def test_a_rule_that_can_be_applied_has_to_explain_all(pretend, capsys):
    """Nautilus's fills as ours don't become ours by its rule: a rule is no excuse."""
    pretend(lambda outcome: outcome)
    assert command.main(["nautilus"]) == 1
    assert "by the peer's rule" in capsys.readouterr().out


def test_a_peer_that_cant_be_run_is_a_failure(monkeypatch, capsys):
    """Told in its row."""

    def absent(case, tape):
        raise command.FailedError(f"{case.peer} isn't there")

    monkeypatch.setattr(command, "peer", absent)
    assert command.main(["bt"]) == 1
    assert "bt isn't there" in capsys.readouterr().out
