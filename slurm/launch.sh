#!/bin/bash
# Runs a sweep as a SLURM job, from the project's folder (docs/slurm.md tells more):
#
#   sbatch slurm/launch.sh                                                    sweeps/overlap.yaml on one node
#   sbatch --nodes=4 --gpus-per-node=4 --cpus-per-task=32 slurm/launch.sh sweeps/x.yaml --corpus DIR
#   sbatch --array=0-7 --gpus=1 --cpus-per-task=8 slurm/launch.sh sweeps/x.yaml     eight jobs, an eighth of it each
#   ser-ray submit sweeps/x.yaml --nodes 4 --gpus-per-node 4                  says how long it takes, and this line
#
# What stands after launch.sh is FILE.yaml and the options of `python -m ser_ray.sweep`. The same line again goes on
# where the sweep stands. A job that reaches its time limit, or is preempted, saves, and goes on by itself.
#
#SBATCH --job-name=ser_ray
#SBATCH --output=%x-%j.log
#SBATCH --open-mode=append
#SBATCH --ntasks-per-node=1
#SBATCH --signal=B:USR1@180
#SBATCH --requeue
#SBATCH --no-kill
#
# --- your site: none is needed; uncomment what is, here or (all but SBATCH lines) in slurm/site.env -------------------
##SBATCH --partition=gpu
##SBATCH --account=project
##SBATCH --time=24:00:00
# module load cuda                                                # what your site wants loaded
# SER_RAY_PYTHON=(apptainer exec --nv /path/image.sif python)     # a container, or an environment elsewhere
# export SER_RAY_INTERFACE=ib0                                    # the network between nodes
# export SER_RAY_TMP=/local                                       # a short path on each node's own disk, not /tmp
# export SER_RAY_MPS=1                                            # trials on a GPU side by side, not in turns
# SER_RAY_REQUEUES=20                                             # so often a job goes on by itself; 0 for never
# --- end of your site -----------------------------------------------------------------------------------------------

set -uo pipefail

say() { printf '%(%H:%M:%S)T  launch.sh  %s\n' -1 "$*"; }
refuse() { say "error: $*" >&2; exit 2; }

stop_signal='' driver='' rc=0
# shellcheck disable=SC2317 # called by the traps
request_stop() {
    say "SLURM sent SIG$1: the sweep saves what it has"
    [[ $stop_signal == USR1 ]] || stop_signal=$1
    [[ -z $driver ]] || kill -s "$1" "$driver" 2>/dev/null
}
trap 'request_stop USR1' USR1
trap 'request_stop TERM' TERM

[[ -n ${SLURM_JOB_ID:-} ]] || refuse "this is no SLURM job: sbatch slurm/launch.sh, or python -m ser_ray.sweep"
cd "${SLURM_SUBMIT_DIR:-.}" || refuse "the folder $SLURM_SUBMIT_DIR is not there on $(hostname)"
if [[ -f slurm/site.env ]]; then
    set +u # what sites load may use variables that are not set
    # shellcheck source=/dev/null
    source slurm/site.env || refuse "slurm/site.env ended with $?; is its last line a test that failed?"
    set -u
fi
[[ -n ${SER_RAY_PYTHON:-} ]] || SER_RAY_PYTHON=("$PWD/.venv/bin/python")
SER_RAY_REQUEUES=${SER_RAY_REQUEUES:-20}
command -v "${SER_RAY_PYTHON[0]}" >/dev/null ||
    refuse "there is no ${SER_RAY_PYTHON[0]}: submit from the project's folder, after make env;" \
        "or set SER_RAY_PYTHON in slurm/site.env"

arguments=("$@")
[[ $# -gt 0 && $1 != -* ]] || arguments=(sweeps/overlap.yaml "$@")
if [[ -n ${SLURM_ARRAY_TASK_ID:-} && " $* " != *" --share"[\ =]* ]]; then
    first=${SLURM_ARRAY_TASK_MIN:?}
    ((SLURM_ARRAY_TASK_MAX - first + 1 == SLURM_ARRAY_TASK_COUNT)) ||
        refuse "--array must be a range such as 0-7; for one of eight shares alone: --share 3/8, after the sweep file"
    arguments+=(--share "$((SLURM_ARRAY_TASK_ID - first + 1))/$SLURM_ARRAY_TASK_COUNT")
fi
mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
((${#nodes[@]})) || refuse "scontrol names no nodes of this job ($SLURM_JOB_NODELIST)"
restarts=${SLURM_RESTART_COUNT:-0}
say "job $SLURM_JOB_ID on ${nodes[*]}, started again $restarts times: ${arguments[*]}"

ulimit -n "$(ulimit -Hn)" # `ray start` takes what it finds

# Ray's clusters require a token that only the processes of this job have.
unset RAY_ADDRESS
export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0 PYTHONUNBUFFERED=1
RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
export RAY_AUTH_TOKEN

# A mistake in the sweep file ends the job here, before anything is started.
folder=$("${SER_RAY_PYTHON[@]}" -m ser_ray.sweep "${arguments[@]}" --print-folder) || exit
folder=${folder##*$'\n'} # a container may print something first
job=$folder/slurm/$SLURM_JOB_ID
{ mkdir -p "$job" && : >"$job/began-$restarts"; } ||
    refuse "$folder cannot be written: choose another folder with --results DIR"

# A step of one task may use all cores that the job has on its node; the option is an error where SLURM binds no tasks.
unbound=()
[[ ! $(scontrol show config) =~ TaskPlugin\ *=\ [^$'\n']*(affinity|cgroup) ]] || unbound=(--cpu-bind=none)

# SLURM lets a job go on whose first node is lost, though the batch script ran there: the other nodes requeue it then.
# The signals that it sends to every process of a step must not end this shell, for with it SLURM ends all of the step.
# shellcheck disable=SC2016 # these variables are the step's own
on_node='trap : TERM USR1 HUP; "$@" 2>&1; code=$?; [[ $code != 76 ]] || scontrol requeue "$SER_RAY_JOB"; exit "$code"'
export SER_RAY_JOB=$SLURM_JOB_ID
[[ -z ${SLURM_ARRAY_TASK_ID:-} ]] || SER_RAY_JOB=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID

# A step would ask for all GPUs of `--gpus=N`, which no node alone has: each is given the number of its own node.
declare -A gpus_of=()
count_gpus() {
    local line gres count node named
    while read -r line; do
        [[ $line =~ ^Nodes=([^ ]+).*\ GRES=([^ ]+) ]] || continue
        gres=${BASH_REMATCH[2]} count=0
        mapfile -t named < <(scontrol show hostnames "${BASH_REMATCH[1]}")
        while [[ $gres =~ gpu(:[^:,\(]+)?:([0-9]+) ]]; do
            count=$((count + BASH_REMATCH[2]))
            gres=${gres#*"${BASH_REMATCH[0]}"}
        done
        for node in "${named[@]}"; do gpus_of[$node]=$count; done
    done < <(scontrol show job -d "$SER_RAY_JOB")
}
[[ -z ${SLURM_GPUS:-} || ${#nodes[@]} == 1 ]] || count_gpus
of_the_job=(SLURM_GPUS SLURM_GPUS_PER_NODE SLURM_GPUS_PER_SOCKET SLURM_GPUS_PER_TASK SLURM_NTASKS_PER_GPU
    SLURM_TRES_PER_TASK)

start_nodes() { # one step on each node checks whether it is fit, and runs Ray there until the file `go` is gone
    steps=()
    local node peer role gpus
    for node in "${nodes[@]}"; do
        role=() gpus=()
        [[ -z ${gpus_of[$node]:-} ]] || gpus=(--gpus="${gpus_of[$node]}")
        [[ $node != "${nodes[0]}" ]] || role=(--head)
        for peer in "${nodes[@]}"; do
            [[ $peer == "$node" ]] || role+=(--peer "$peer")
        done
        (
            ((${#gpus[@]} == 0)) || unset "${of_the_job[@]}"
            exec srun --nodes=1 --ntasks=1 --nodelist="$node" --overlap ${unbound[@]+"${unbound[@]}"} --export=ALL \
                --no-kill --kill-on-bad-exit=0 --input=none --mpi=none ${gpus[@]+"${gpus[@]}"} \
                ${SLURM_CPUS_PER_TASK:+--cpus-per-task="$SLURM_CPUS_PER_TASK"} \
                bash -c "$on_node" node "${SER_RAY_PYTHON[@]}" -m ser_ray.slurm.node "$meeting" --results "$folder" \
                "${role[@]}"
        ) 2>"$meeting/srun-$node.log" & # srun's own messages; those of the node go to the job's log
        steps+=($!)
    done
    watch_nodes &
    watch=$!
}

watch_nodes() { # report steps that end before the job does, with srun's messages, to the job's log and to the sweep
    trap '' TERM USR1
    local number node words reported=()
    while [[ -e $meeting/go ]]; do
        for number in "${!steps[@]}"; do
            if [[ -n ${reported[number]:-} ]] || kill -0 "${steps[number]}" 2>/dev/null; then continue; fi
            node=${nodes[number]} reported[number]=1
            words=$(<"$meeting/srun-$node.log")
            say "the step of node $node is over: ${words:-srun said nothing}"
            printf '%s' "$words" >"$meeting/.ended-$node" && mv "$meeting/.ended-$node" "$meeting/ended-$node"
        done
        sleep 1 &>/dev/null
    done
}

end_nodes() {
    rm -f "$meeting/go"
    local step
    kill -KILL "$watch" 2>/dev/null
    wait "$watch" 2>/dev/null
    for ((tenths = 0; tenths < 300; tenths++)); do
        kill -0 "${steps[@]}" 2>/dev/null || break
        sleep 0.1
    done
    for step in "${steps[@]}"; do
        kill -KILL "$step" 2>/dev/null
        wait "$step" 2>/dev/null
    done
}

wait_for_driver() { # a signal that is trapped ends `wait` early, with a code that is not the driver's
    while wait "$driver"; rc=$?; ((rc > 128)) && kill -0 "$driver" 2>/dev/null; do :; done
    if ((rc > 128)); then
        local again=0
        wait "$driver" 2>/dev/null || again=$?
        ((again == 127)) || rc=$again
    fi
    driver=''
}

run_sweep() { # the driver runs here, on the first node
    meeting=$job/$restarts.$1
    rm -rf "$meeting"
    { mkdir "$meeting" && : >"$meeting/go"; } || refuse "$meeting cannot be written"
    if ((${#nodes[@]} > 1)); then
        start_nodes
    else
        "${SER_RAY_PYTHON[@]}" -m ser_ray.doctor --results "$folder" || { rc=$?; return; }
    fi
    rc=75
    if [[ -z $stop_signal ]]; then
        : >"$meeting/running" || refuse "$meeting cannot be written"
        "${SER_RAY_PYTHON[@]}" -m ser_ray.sweep "${arguments[@]}" --meeting "$meeting" --nodes "${#nodes[@]}" &
        driver=$!
        [[ -z $stop_signal ]] || kill -s "$stop_signal" "$driver" 2>/dev/null # it came before the driver had a number
        wait_for_driver
    fi
    ((${#nodes[@]} == 1)) || end_nodes
}

for attempt in 0 1 2 3; do
    run_sweep "$attempt"
    lost=''
    [[ $rc == 75 && -e $meeting/lost ]] && lost='Ray was lost'
    # a driver that ends on purpose removes that file; Ray's own code, for one, may end the process with 1
    [[ $rc != 75 && -e $meeting/running ]] && lost="the process of the sweep ended unexpectedly ($rc)"
    [[ $rc == 137 ]] && lost='the process of the sweep was killed'
    [[ -n $lost && -z $stop_signal && $attempt != 3 ]] || break
    say "$lost: beginning again in this job, from what was saved"
done
if [[ -n $stop_signal && ($rc == 129 || $rc == 138 || $rc == 143) ]]; then
    rc=75 # the signal came before the sweep could take it, and so before it began
fi

requeue() {
    if ((restarts >= SER_RAY_REQUEUES)); then
        say "started again $restarts times already (SER_RAY_REQUEUES): submit again to go on"
    elif [[ -z $(find "$folder"/{trials,predictions,epochs,checkpoints} -type f -newer "$job/began-$restarts" \
        -print -quit 2>/dev/null) ]]; then
        say "nothing was saved since the job began: it is not started again; ask for more time (sbatch --time)"
    elif scontrol requeue "$SER_RAY_JOB"; then
        trap '' TERM
        say "put back into the queue, to go on from what was saved"
        sleep 60 & # until SLURM ends this script
        wait
    else
        say "SLURM did not put the job back into the queue: submit again to go on"
    fi
}

# A job that is being preempted must ask for its place in the queue itself, since its end comes before SLURM's.
if [[ $rc == 75 && -n $stop_signal &&
    ($stop_signal == USR1 || $(scontrol show job "$SLURM_JOB_ID") == *PreemptTime=[0-9]*) ]]; then
    requeue
fi
say "ends with $rc"
exit "$rc"
