"""Faults: processes that are killed or stopped, and what a night has come to afterwards.

`python -m benchmarks.faults workers --trials 100` has two live workers on one shard: one is stopped
or cut off from the ledger for longer than its lease, another takes over, and the first wakes up.
`python -m benchmarks.faults kills --trials 200` kills workers at random moments of three nights.
`python -m benchmarks.faults gc --trials 50` kills `hierdiff gc` between nights and beside one.
`python -m benchmarks.faults services` lets PostgreSQL, Prefect and S3 fail under nights of the
whole stack, one night for each fault, and writes `benchmarks/results/services.json`.
`python -m benchmarks.faults leaving --trials 30 --lost 3 --killed 3` stops workers of the whole
stack by SIGTERM under nights, kills flow runs and whole nodes, and writes
`benchmarks/results/leaving.json`.
"""
