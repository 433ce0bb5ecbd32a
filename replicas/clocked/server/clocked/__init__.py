"""The API of Clocked: people clock sessions of work, alone or in groups."""
