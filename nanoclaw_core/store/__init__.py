"""The central database: one connection per host, one function per statement, rows as frozen values."""
