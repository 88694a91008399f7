"""Runs of many hosts in one ClickHouse server, or in its embedded engine, chDB, on one machine.

`tables` is the layout, `address` reads the URL. What is asked goes through a `Connection`: `client` is
clickhouse-connect's in this process, `courier` is one in a process of its own, for the watched program.
`writer`, `reader` and `housekeeping` do not know which.
"""
