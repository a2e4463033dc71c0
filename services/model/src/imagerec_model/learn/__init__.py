"""Learn classes from folders of photographs: a new head on the features of EfficientNet-Lite0."""
