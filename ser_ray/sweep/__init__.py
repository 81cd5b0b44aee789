"""A sweep, from its file to its results.

In the order of the data. The file: `yaml_file` reads it with the places of its keys, `overrides` applies --set,
`config` validates it (by `fields`, `items`, `space` and `wording`), `quick` shrinks it on request. The plan:
`explore` and `plan` make resolved trials with keys of it, `gold_check` looks whether the corpus has the gold that
they need, `guided` proposes further ones, `share` deals them out to several jobs, `standing` says which are done,
`reuse` takes over what other sweeps have done, `listing` and `estimate` (by what was `measured`, on so many `slots`)
tell of it, `resolved` writes it down. `prepare` is all of that from a command line.

The run: `run` brings the folder in order and has `work` train and search the rest on a `cluster`, which it finds
where the nodes of a job have their `meeting`, or starts in its `own_folder`; `node_watch` notices when it is lost, and
`ray_thread` that it is still used when it is to be left; `trial_resources` says what each trial
gets, `supply` hands trials to `tune`, whose workers make an `attempt` at each, on GPUs with the share that `gpu_shares`
gives and with `device_faults` counted; `search_pool` searches their
predictions; `outcomes` is told of it all. `ending` is the wish to stop, `silence` notices trials that hang,
`presence` tells others of this driver, `progress` and `tensorboard` tell the user. `environment` and `mps` prepare
Ray and GPUs, `changes` keeps the code's uncommitted changes. `search_again` is the search of a finished sweep alone.
Ray is met in `cluster`, `tune` and `search_pool` alone.
"""
