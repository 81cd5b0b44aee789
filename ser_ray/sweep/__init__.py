"""A sweep, from its file to its results.

In the order of the data: `yaml_file` reads the file with the places of its keys, `overrides` applies --set, `config`
validates it (by `fields`, `items` and `wording`), `quick` shrinks it on request, `explore` and `plan` make resolved
trials with keys of it, `standing` says which of them are done, `run` has the rest trained and searched, and `progress`
shows it. Ray is met in `cluster`, `tune` and `search_pool` alone.
"""
