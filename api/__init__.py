"""HTTP: translates; decides nothing."""
