"""Pictures in, numbers out: features (networks) apart from metrics (pure maths)."""
