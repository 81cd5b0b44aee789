"""The sweep file: read with the position of each key, validated, changed by --set and --quick."""
