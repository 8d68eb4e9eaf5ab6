import pytest

from moderation_service.backoff import Backoff


def test_waits_double_up_to_the_longest_however_many_failures() -> None:
    backoff = Backoff(0.5, 3.0, jitter=0.0)
    assert [backoff.delay_s(failures) for failures in (1, 2, 3, 4, 5, 100_000)] == [0.5, 1.0, 2.0, 3.0, 3.0, 3.0]


@pytest.mark.parametrize(("drawn", "delay_s"), [(0.0, 4.0), (0.5, 3.0), (1.0, 2.0)])
async def test_up_to_half_of_a_wait_is_cut_at_random(drawn: float, delay_s: float) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    await Backoff(1.0, 60.0, random=lambda: drawn, sleep=sleep).wait(3)
    assert slept == [delay_s]
