"""Image classification over HTTP: a Flask app that serves one LiteRT model bundle."""
