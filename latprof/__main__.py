"""``python -m latprof``: the command without its installed script."""

from latprof._cli import main

main()
