"""Choose among proposals: pure functions over texts, answers and their likeness."""
