"""The functions of leave & attendance, one handler an endpoint."""
