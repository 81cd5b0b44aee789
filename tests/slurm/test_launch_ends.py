"""slurm/launch.sh with stand-ins for SLURM's programs and Python: signals, requeues, and clusters that are lost."""

import signal
import time

import pytest
from launch_stand_ins import SAVES, WITHOUT_A_WORD, array

# --- the time limit, and preemption -----------------------------------------------------------------------------------


@pytest.mark.parametrize("nodes", ["n1", "n1\nn2"])
def test_before_the_time_limit_the_sweep_saves_and_the_job_is_put_back_once(job, nodes):
    job.say(nodes=nodes)
    job.does(driver=SAVES)
    code, out = job.start().up().send(signal.SIGUSR1).end()
    assert code == 75
    assert job.given("scontrol-requeue-") == [["requeue", "4711"]]
    assert job.given("sleep") == [["60"]], "SLURM ends the script meanwhile"
    assert "SLURM sent SIGUSR1: the sweep saves what it has" in out
    assert "put back into the queue, to go on from what was saved" in out
    assert not job.given("srun") or not (job.meeting() / "go").exists()


def test_the_driver_gets_the_signal_that_slurm_sent(job):
    traps = 'for name in USR1 TERM; do trap "echo driver got $name; exit 1" $name; done; '
    job.does(driver=traps + ": >$here/up; while :; do pause; done")
    for name in ("USR1", "TERM"):
        code, out = job.start().up().send(getattr(signal, f"SIG{name}")).end()
        assert code == 1
        assert f"driver got {name}" in out


def test_a_job_of_an_array_is_put_back_alone(job):
    job.does(driver=SAVES)
    job.start(**array(6, 4, 7, 4)).up().send(signal.SIGUSR1).end()
    assert job.given("scontrol-requeue-") == [["requeue", "900_6"]]


@pytest.mark.parametrize("table", ["trials", "predictions", "epochs", "checkpoints/0123"])
def test_whatever_was_saved_is_progress(job, table):
    write = f"/bin/sleep 0.02; mkdir -p '{job.folder}/{table}'; echo >'{job.folder}/{table}/x';"
    job.does(driver=SAVES.replace("save;", write))
    job.start().up().send(signal.SIGUSR1).end()
    assert job.given("scontrol-requeue-") == [["requeue", "4711"]]


def test_without_progress_a_job_is_not_put_back(job):
    (job.folder / "trials").mkdir(parents=True)
    (job.folder / "trials" / "of_before.parquet").touch()
    (job.folder / "logs").mkdir()
    job.does(driver=SAVES.replace("save;", f"/bin/sleep 0.02; echo >'{job.folder}/logs/x';"))
    time.sleep(0.02)
    code, out = job.start().up().send(signal.SIGUSR1).end()
    assert code == 75
    assert job.given("scontrol-requeue-") == []
    assert "nothing was saved since the job began: it is not started again; ask for more time (sbatch --time)" in out


@pytest.mark.parametrize(
    ("restarts", "most", "again"),
    [("19", "", True), ("20", "", False), ("3", "SER_RAY_REQUEUES=3", False), ("", "SER_RAY_REQUEUES=0", False)],
)
def test_a_job_goes_on_by_itself_only_so_often(job, restarts, most, again):
    job.site(f"SER_RAY_PYTHON=('{job.python}')\n{most}")
    job.does(driver=SAVES)
    variables = {"SLURM_RESTART_COUNT": restarts} if restarts else {}
    code, out = job.start(**variables).up().send(signal.SIGUSR1).end()
    assert code == 75
    assert len(job.given("scontrol-requeue-")) == again
    said = f"started again {restarts or 0} times already (SER_RAY_REQUEUES): submit again to go on"
    assert (said in out) is not again
    assert job.meeting(restarts=int(restarts or 0)).is_dir()


def test_a_failed_requeue_is_reported(job):
    job.say(requeue=1)
    job.does(driver=SAVES)
    code, out = job.start().up().send(signal.SIGUSR1).end()
    assert code == 75
    assert "SLURM did not put the job back into the queue: submit again to go on" in out
    assert job.given("sleep") == []


@pytest.mark.parametrize(
    ("shown", "again"),
    [("PreemptEligibleTime=2026-01-01T10:00:00 PreemptTime=2026-01-01T11:00:00", True), ("PreemptTime=None", False)],
)
def test_a_job_that_is_to_end_comes_back_only_if_it_is_preempted(job, shown, again):
    job.say(job=f"JobId=4711 JobName=ser_ray\n   {shown}\n")
    job.does(driver=SAVES)
    code, _ = job.start().up().send(signal.SIGTERM).end()
    assert code == 75
    assert len(job.given("scontrol-requeue-")) == again
    assert job.given("scontrol-show-job") == [["show", "job", "4711"]]


@pytest.mark.parametrize("order", [("SIGUSR1", "SIGTERM"), ("SIGTERM", "SIGUSR1")])
def test_the_end_of_the_time_limit_after_its_signal_changes_nothing(job, order):
    traps = "trap got=1 USR1; trap term=1 TERM; : >$here/up; "
    job.does(driver=traps + "until [[ $got$term == 11 ]]; do pause; done; save; exit 75")
    job.start().up()
    for name in order:
        job.send(getattr(signal, name))
        time.sleep(0.1)
    code, _ = job.end()
    assert code == 75
    assert job.given("scontrol-requeue-") == [["requeue", "4711"]]


@pytest.mark.parametrize("code", [0, 1, 2])
def test_a_sweep_that_comes_to_its_end_all_the_same_is_not_begun_again(job, code):
    job.does(driver=SAVES.replace("75", str(code)))
    assert job.start().up().send(signal.SIGUSR1).end()[0] == code
    assert job.given("scontrol-requeue-") == []


@pytest.mark.parametrize("nodes", ["n1", "n1\nn2"])
def test_a_signal_before_the_sweep_begins_keeps_it_from_beginning(job, nodes):
    job.say(nodes=nodes)
    job.does(print=f"kill -USR1 $(<$here/pid); echo '{job.folder}'")
    code, out = job.run()
    assert code == 75, out
    assert job.given("driver") == []
    assert "nothing was saved since the job began" in out
    assert not job.given("srun") or not (job.meeting() / "go").exists()


@pytest.mark.parametrize("name", ["USR1", "TERM"])
def test_a_driver_that_a_signal_ends_before_it_can_take_it_is_no_failure(job, name):
    job.does(driver=": >$here/up; while :; do pause; done")
    code, _ = job.start().up().send(getattr(signal, f"SIG{name}")).end()
    assert code == 75


# --- a cluster that is lost -------------------------------------------------------------------------------------------

LOST = ': >"$meeting/lost"; '


def test_a_lost_cluster_is_begun_again_in_the_same_job(job):
    job.say(nodes="n1\nn2")
    job.does(driver=f'[[ ! -e $here/once ]] || exit 0; : >"$here/once"; {LOST} exit 75')
    code, out = job.run()
    assert code == 0
    assert out.count("Ray was lost: beginning again in this job, from what was saved") == 1
    assert [words[-3] for words in job.given("driver")] == [str(job.meeting(0)), str(job.meeting(1))]
    assert [words[-3] for words in job.given("srun") if words[-3] == "--head"] == ["--head", "--head"]
    assert job.given("scontrol-requeue-") == []


def test_it_is_begun_again_three_times_at_most(job):
    job.does(driver=f"{LOST} exit 75")
    code, out = job.run()
    assert code == 75
    assert out.count("beginning again in this job") == 3
    assert job.order == ["print", *["doctor", "driver"] * 4]


def test_a_driver_that_is_killed_is_begun_again_too(job):
    job.does(driver='[[ ! -e $here/once ]] || exit 1; : >"$here/once"; kill -KILL $$')
    code, out = job.run()
    assert code == 1
    assert out.count("the process of the sweep was killed: beginning again in this job, from what was saved") == 1
    job.does(driver="kill -KILL $$")
    code, out = job.run()
    assert code == 137
    assert out.count("beginning again in this job") == 3
    assert len(job.given("driver")) == 2 + 4


@pytest.mark.parametrize("code", [1, 2, 134, 139])
def test_a_driver_that_ends_without_a_word_is_begun_again_too(job, code):
    job.does(driver=f'[[ ! -e $here/once ]] || exit 0; : >"$here/once"; {WITHOUT_A_WORD} exit {code}')
    ended, out = job.run()
    assert ended == 0
    said = f"the process of the sweep ended unexpectedly ({code}): beginning again in this job, from what was saved"
    assert out.count(said) == 1
    job.does(driver=f"{WITHOUT_A_WORD} exit {code}")
    ended, out = job.run()
    assert ended == code
    assert out.count("beginning again in this job") == 3


def test_what_ends_otherwise_is_not_begun_again(job):
    job.does(driver=f"{LOST} exit 1")
    assert job.run()[0] == 1
    job.does(driver="exit 75")
    assert job.run()[0] == 75
    assert len(job.given("driver")) == 2


def test_after_a_signal_nothing_is_begun_again(job):
    job.does(driver=SAVES.replace("save;", f"save; : >'{job.meeting()}/lost';"))
    code, out = job.start().up().send(signal.SIGTERM).end()
    assert code == 75
    assert "beginning again" not in out
    assert len(job.given("driver")) == 1


def test_what_an_earlier_run_of_the_job_left_is_not_taken_for_its_own(job):
    job.meeting().mkdir(parents=True)
    (job.meeting() / "lost").touch()
    (job.meeting() / "address").write_text("10.0.0.1:20001")
    job.does(driver="[[ ! -e $meeting/address ]] && exit 75")
    assert job.run()[0] == 75
    assert len(job.given("driver")) == 1


def test_a_sweep_that_ends_by_itself_is_not_put_back_for_an_earlier_preemption(job):
    job.say(job="PreemptTime=2026-01-01T11:00:00")
    job.does(driver="save; exit 75")
    assert job.run()[0] == 75
    assert job.given("scontrol-requeue-") == []
