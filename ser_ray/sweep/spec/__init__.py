"""The sweep file: read with the places of its keys, validated, changed by --set and --quick."""
