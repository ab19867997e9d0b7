"""The search over fusion placements: Optuna suggests, a sweep's cells answer."""
