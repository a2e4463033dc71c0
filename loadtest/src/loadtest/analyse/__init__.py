"""Make tables of samples: statistics, summaries, comparisons, plans, and theory beside what was measured."""
