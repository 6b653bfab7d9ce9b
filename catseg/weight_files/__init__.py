"""Files of weights: recognised by what they hold, and read without running any code. All parts of catseg may use it."""
