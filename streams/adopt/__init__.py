"""Takes an election over from the services that Scrutin replaces; see docs/adopting.md."""
