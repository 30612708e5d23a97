"""Programs that make things for the project; not part of the installed package."""
