"""The stand-in of Flight Rescheduler: its three functions and its server, which share settings, database and logs."""
