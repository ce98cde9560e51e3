"""The central database: one function per statement, rows as frozen values."""
