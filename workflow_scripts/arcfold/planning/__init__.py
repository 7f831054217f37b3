"""How long a run takes, and what of it gives way when there is less time: work, rates, seconds, bytes, schedules.

Tasks and settings come in and are counted exactly (`work`); measured rates of a device (`rates`) make seconds and
bytes of the counts (`costs`), a schedule makes the time of a whole run of them (`schedule`), and `plan` says all of it.
Nothing here changes a result: what is predicted stands beside what was measured, and the seconds of a deadline decide
settings before a job starts, never while it runs.
"""
