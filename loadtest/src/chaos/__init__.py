"""`make chaos`: break a deployed slice in every way there is, under load, and say what its clients felt."""
