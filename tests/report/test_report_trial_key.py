import pytest

from ser_ray.errors import InputError
from ser_ray.report.trial_key import find_key


@pytest.mark.parametrize("length", [3, 12])
def test_every_key_is_found_by_its_beginning_whatever_the_trial_has_left(sweep, length):
    keys = [*sweep.keys["finished"], *sweep.keys["failed"], *sweep.keys["stopped"]]
    for key in (*keys, "aaaaaaaaaaaa", "bbbbbbbbbbbb", "cccccccccccc"):
        assert find_key(sweep.folder, key[:length]) == key


def test_a_beginning_of_several_is_refused_with_their_number(sweep):
    with pytest.raises(InputError, match=r"'2' begins the keys of 3 trials: 20cd03ef0123, .*; give more of the key"):
        find_key(sweep.folder, "2")


def test_a_wrong_key_names_near_ones(sweep):
    with pytest.raises(InputError, match=r"no trial '20cd03ef0124'; trials there are: 20cd03ef0123"):
        find_key(sweep.folder, "20cd03ef0124")
