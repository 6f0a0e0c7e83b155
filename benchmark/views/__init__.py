"""Tables: views of the records, made anew each time."""
