"""Amazon SES: mail that is accepted, refused, delivered, bounced or complained about, and leaves this machine never."""
