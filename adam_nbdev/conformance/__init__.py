"""Which Adam is yours: libraries compared, translated, and their checkpoints told apart"""
