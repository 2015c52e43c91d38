"""What only looks on - MLflow, progress: it cannot change a result, so no stage depends on it."""
