"""Faults of GPUs, counted."""

from ser_ray.sweep.nodes.device_faults import FAULTS_IN_A_ROW, FAULTS_OF_A_TRIAL, DeviceFault, DeviceFaults


def test_a_trial_that_meets_three_is_their_cause():
    faults = DeviceFaults()
    for number in range(FAULTS_OF_A_TRIAL):
        assert not faults.is_cause("a")
        faults.add("a", DeviceFault("ECC", "n1", str(number)))
        faults.add(f"other {number}", DeviceFault("ECC", "n1", "0"))
    assert faults.is_cause("a")
    assert not faults.is_cause("other 0")
    assert faults.met_by("a") == ("n1/0", "n1/1", "n1/2")
    assert faults.met_by("none") == ()


def test_faults_in_a_row_are_too_many_unless_an_epoch_lies_between():
    faults = DeviceFaults()
    for number in range(3 * FAULTS_IN_A_ROW):
        faults.add(str(number), DeviceFault("ECC", "n1", "0"))
        if number % (FAULTS_IN_A_ROW - 1) == 0:
            faults.worked()
        assert not faults.too_many
    for _ in range(FAULTS_IN_A_ROW):
        faults.add("more", DeviceFault("ECC", "n1", "0"))
    assert faults.too_many
