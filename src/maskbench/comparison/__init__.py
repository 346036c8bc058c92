"""Arms against each other, and what drives their errors: tables in, tables out."""
