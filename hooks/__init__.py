"""A network goes in; a map and recorded states come out."""
