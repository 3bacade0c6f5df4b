"""What HTTP asks of the REST API, one matter a file: preconditions, bodies, representations, problem documents."""
