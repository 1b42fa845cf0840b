"""Plans: which views of a picture an encoder sees, from its size alone, and how they are cut."""
