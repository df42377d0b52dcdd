"""What a row of probes says, and when a server is asked."""

import asyncio
from types import SimpleNamespace

import pytest
from clock import run_on_clock

from anyfc.errors import FunctionNotStarted
from anyfc.model.function import HealthCheck
from anyfc.runtime.health import Verdict, is_well, watched


def check(**settings):
    return HealthCheck(path="/health", **settings)


# --- the verdict ---


@pytest.mark.parametrize(
    ("settings", "probes", "verdicts"),
    [
        ({"failure_threshold": 3}, "++---", "WWWWU"),
        ({"failure_threshold": 3}, "--+--+---", "WWWWWWWWU"),
        ({"failure_threshold": 1}, "-+-+", "UWUW"),
        ({"failure_threshold": 2, "success_threshold": 3}, "--++-+++", "WUUUUUUW"),
        ({"failure_threshold": 2, "success_threshold": 2}, "----++--", "WUUUUWWU"),
    ],
)
def test_probes_in_a_row_decide(settings, probes, verdicts):
    verdict = Verdict(check(**settings))
    said = ["W" if verdict.take(probe == "+") else "U" for probe in probes]
    assert "".join(said) == verdicts


@pytest.mark.parametrize(
    ("status", "well"),
    [(200, True), (204, True), (302, True), (399, True), (400, False), (404, False), (500, False),
     (0, False), (101, False)],
)  # fmt: skip
def test_a_status_from_200_to_399_is_well(status, well):
    assert is_well(status) is well


# --- asking ---


class FakeCustom:
    """A server whose probes the test answers."""

    def __init__(self, health_check, statuses):
        self.plan = SimpleNamespace(health_check=health_check)
        self.healthy = True
        self.statuses = statuses
        self.probed = []

    async def probe(self, health_check):
        assert health_check is self.plan.health_check
        self.probed.append(asyncio.get_running_loop().time() - 1000)
        return self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]


def watch(custom, seconds, *, awake=lambda: True):
    """Watch a server for so long; return how it is at the end of each second."""

    async def main():
        seen = []
        async with watched(custom, awake=awake):
            for _ in range(seconds):
                await asyncio.sleep(1)
                await asyncio.sleep(0)
                seen.append(custom.healthy)
        return seen

    return run_on_clock(main())


def test_without_a_health_check_nobody_is_asked():
    custom = FakeCustom(None, [500])
    assert watch(custom, 3) == [True] * 3
    assert custom.probed == []


def test_the_first_probe_comes_after_its_delay_and_the_others_in_their_period():
    custom = FakeCustom(check(initial_delay_s=2, period_s=3), [200])
    watch(custom, 7)
    assert custom.probed == [2, 5, 8]


@pytest.mark.parametrize("status", [500, 404, 0])
def test_a_first_probe_that_fails_is_a_failed_start(status):
    custom = FakeCustom(check(failure_threshold=3), [status])
    with pytest.raises(FunctionNotStarted) as caught:
        watch(custom, 1)
    assert str(caught.value) == (
        "The function http server cannot be started. check function health failed with "
        f"status code: {status} "
    )


def test_a_server_that_gets_ill_is_not_ready_until_it_is_well_again():
    custom = FakeCustom(check(period_s=1, failure_threshold=2), [200, 500, 500, 500, 302, 200])
    assert watch(custom, 6) == [True, False, False, True, True, True]


def test_nobody_is_asked_while_frozen():
    awake = True
    custom = FakeCustom(check(period_s=1), [200])

    def is_awake():
        return awake

    async def main():
        nonlocal awake
        async with watched(custom, awake=is_awake):
            await asyncio.sleep(2.5)
            awake = False
            await asyncio.sleep(3)
            awake = True
            await asyncio.sleep(1)

    run_on_clock(main())
    assert custom.probed == [0, 1, 2, 6]


def test_a_probe_that_was_frozen_in_the_middle_says_nothing():
    awake = True

    class Freezing(FakeCustom):
        async def probe(self, health_check):
            nonlocal awake
            status = await super().probe(health_check)
            awake = len(self.probed) != 2
            return status

    custom = Freezing(check(period_s=1, failure_threshold=1), [200, 0, 200])
    assert watch(custom, 1, awake=lambda: awake) == [True]
