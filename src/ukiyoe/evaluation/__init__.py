"""Measures of generated pictures: networks in `features`, pure maths in `metrics`."""
