"""Jobs that are set aside: for longer each time, never for ever."""

from __future__ import annotations

from serving.director.aside import FIRST_S, LONGEST_S, Aside

JOB = "a", "vid_1"


def test_each_pause_is_twice_as_long_as_the_last_to_a_limit() -> None:
    aside, now = Aside(), 0.0
    pauses = []
    for _ in range(12):
        aside.put(JOB, now)
        began = now
        while aside.holds(JOB, now):
            now += 1.0
        pauses.append(now - began)

    assert pauses[:4] == [FIRST_S, 2 * FIRST_S, 4 * FIRST_S, 8 * FIRST_S]
    assert pauses[-1] == LONGEST_S


def test_a_hint_ends_the_pause_and_its_history() -> None:
    aside = Aside()
    for _ in range(5):
        aside.put(JOB, 0.0)
    aside.clear(JOB)
    assert JOB not in aside

    aside.put(JOB, 0.0)
    assert not aside.holds(JOB, FIRST_S)


def test_it_knows_how_long_ago_it_began() -> None:
    aside = Aside()
    assert aside.known_s(JOB, 5.0) == 0.0
    for now in (10.0, 20.0, 30.0):
        aside.put(JOB, now)
    assert aside.known_s(JOB, 40.0) == 30.0
    aside.clear(JOB)
    aside.put(JOB, 50.0)
    assert aside.known_s(JOB, 51.0) == 1.0


def test_what_the_store_lists_no_more_is_forgotten() -> None:
    aside = Aside()
    aside.put(JOB, 0.0)
    aside.put(("b", "vid_2"), 0.0)

    aside.drop([("b", "vid_2"), ("b", "vid_3")])

    assert list(aside) == [JOB]
