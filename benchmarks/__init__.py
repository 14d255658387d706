"""Side by side with named peers: `python -m benchmarks` runs every row, `python -m benchmarks ROW` one.

Each module of this folder holds `ROWS`, functions by the name of their row, each giving a `Row`. Both sides run in one
process, in turns, with the same threads; memory is measured in a fresh process for each side. Ratios are the
results: seconds depend on the machine. Peers come with the extra `bench`, and the package never imports one.
"""
